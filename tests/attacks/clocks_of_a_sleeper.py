# clocks | the wall limit, which is not for programs that wait within it | accepted, beside forty processes of its own that wait too
#: verdicts=["accepted"], cpu_s=0.3
import os, time
for _ in range(40):
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)
time.sleep(2)
print("held")
