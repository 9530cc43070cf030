# processes of a test | children that are stopped, and zombies that nobody waits for | the next test can make as many
#: tests=[("0", "held"), ("1", "held")]
import os, signal, time
made = 0
for n in range(40):
    child = os.fork()
    if child == 0:
        n % 2 or os._exit(0)
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60)
    made += 1
print("held")
