# the runner | every signal that it could have a handler for, sent by three processes as fast as they can | the tests go on
#: tests=[("1", "1"), ("2", "2")], cpu_s=3
import os, signal, time
n = input()
for _ in range(2):
    if os.fork() == 0:
        break
end = time.process_time() + 0.2
while time.process_time() < end:
    for number in (signal.SIGCHLD, signal.SIGIO, signal.SIGPIPE, signal.SIGUSR1, signal.SIGTERM, signal.SIGCONT, 40):
        os.kill(1, number)
    os.kill(1, signal.SIGSTOP)
print(n) if os.getppid() == 1 else None
