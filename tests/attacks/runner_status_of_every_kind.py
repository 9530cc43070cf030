# the runner | every way a process can end, one of which means "no memory" to the runner | a verdict each, never accepted
#: tests=[(str(n), "") for n in (3, 5, 6, 9, 19, 34, 64, 1064, 1255, 1128, 1137)]
#: verdicts=["exception|out of memory|timeout"], cpu_s=0.05
import os, signal
n = int(input())
if n < 1000:
    os.kill(os.getpid(), n)
    if n == signal.SIGSTOP:
        os._exit(1)
else:
    os._exit(n - 1000)
