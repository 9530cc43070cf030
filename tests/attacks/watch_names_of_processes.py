# the judge's watch | names of processes that look like the fields of /proc/PID/stat | CPU time is counted all the same
#: verdicts=["timeout"], cpu_s=0.5
import ctypes, os, time
ctypes.CDLL(None).prctl(15, b") S 1 0 0\n0 -1", 0, 0, 0)
for _ in range(200):
    os.fork() or os._exit(0)  # so that the next number is far from the first
    os.wait()
if os.fork() == 0:
    while True:
        pass
time.sleep(60)
