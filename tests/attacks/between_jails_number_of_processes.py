# between jails | the number of processes of the user that all jails run as | another program can still make forty
#: verdicts=["accepted"], cpu_s=2
#: beside="import os\nn = int(input())\nfor _ in range(40): os.fork() or os._exit(0)\nprint(n + 1)"
import os, time
try:
    for _ in range(60):
        if os.fork() == 0:
            time.sleep(1.5)
            os._exit(0)
except OSError:
    pass
time.sleep(1.5)
print("held")
