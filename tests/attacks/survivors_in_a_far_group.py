# processes of a test | a program that stops itself and all of its group | a timeout, and the next test is fine
#: tests=[("0", "held"), ("1", "held")], verdicts=["timeout", "accepted"], cpu_s=0.05
import os, signal
if input() == "0":
    os.fork()
    os.kill(0, signal.SIGSTOP)
print("held")
