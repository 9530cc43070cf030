# processes of a test | a chain of processes, each of which forks the next and ends | none is left in the next test
#: tests=[("0", "held"), ("1", "held"), ("2", "held")]
import os
left = []
for pid in range(2, 32000):
    try:
        os.kill(pid, 0)
        pid == os.getpid() or left.append(pid)
    except OSError:
        pass
print("held" if not left else left, flush=True)
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork():
                os._exit(0)
