# between jails | the times of /dev/null, which may be one file for all jails | the other jail sees no change
#: verdicts=["accepted"], cpu_s=2
#: beside="import os, time\nn = int(input())\nnames = [name for name in ('/dev/null', '/dev/urandom', '/dev') if os.path.exists(name)]\nseen = set()\nfor _ in range(20):\n    seen.add(tuple((os.stat(name).st_mtime_ns, os.stat(name).st_atime_ns) for name in names))\n    time.sleep(0.01)\nprint(n + 1 if len(seen) == 1 else 'changed')"
import os, time
end = time.monotonic() + 1.5
while time.monotonic() < end:
    for name in ("/dev/null", "/dev/urandom"):
        for change in (lambda: os.utime(name), lambda: os.utime(name, (7, 7)), lambda: open(name, "wb").close()):
            try:
                change()
            except OSError:
                pass
    time.sleep(0.003)
print("held")
