# neighbours | the locks of the process table, taken by forks without end in thirty processes | the program beside it is right
#: verdicts=["timeout|out of memory"], cpu_s=1.5
import os
for _ in range(20):
    if os.fork() == 0:
        break
while True:
    try:
        if os.fork() == 0:
            os._exit(0)
        os.wait()
    except OSError:
        pass
