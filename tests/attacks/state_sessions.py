# state of a process | sessions and process groups, which a signal of a whole group would reach | only its own test ends
#: tests=[("0", "held"), ("1", "held"), ("2", "held")], verdicts=["exception", "exception", "accepted"]
import os, signal
n = input()
if n == "0":
    os.kill(0, signal.SIGKILL)
elif n == "1":
    os.kill(-1, signal.SIGTERM)
    os.killpg(os.getpgrp(), signal.SIGKILL)
print("held")
