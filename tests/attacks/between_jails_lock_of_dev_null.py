# between jails | a lock on /dev/null, which may be one open file for all jails | the other jail sees no lock
#: verdicts=["accepted"], cpu_s=2
#: beside="import fcntl\nn = int(input())\nfor name in ('null', 'urandom'):\n    with open('/dev/' + name, 'r+b', buffering=0) as file:\n        try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n        except BlockingIOError: n = 'locked by another'\n        except OSError: pass\nprint(n if type(n) is str else n + 1)"
import fcntl, time
files = []
for name in ("null", "urandom"):
    try:
        files.append(open(f"/dev/{name}", "r+b", buffering=0))
        fcntl.lockf(files[-1], fcntl.LOCK_EX)
    except OSError:
        pass
time.sleep(1.5)
print("held")
