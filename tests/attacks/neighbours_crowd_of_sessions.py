# neighbours | a session of its own for each of forty processes, each with a share of the CPU as large as a jail's | the program beside it is right
#: verdicts=["timeout|out of memory"], cpu_s=8, within_s=120
#: beside="import time\nn = int(input())\nwhile time.process_time() < 0.2: pass\nprint(n + 1)", beside_cpu_s=0.3, beside_s=25
import os
for _ in range(40):
    if os.fork() == 0:
        os.setsid()
        break
while True:
    pass
