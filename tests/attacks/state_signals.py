# state of a process | signals ignored, blocked and waiting | the next test has the usual ones
#: tests=[("0", "held"), ("1", "held")]
import os, signal
usual = [s for s in range(1, 65) if s not in (9, 19, 32, 33) and signal.getsignal(s) == signal.SIG_IGN]
blocked, waiting = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.sigpending()
for number in (1, 3, 10, 12, 14, 15, 40):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
os.kill(os.getpid(), 2)
print("held" if set(usual) <= {13, 25} and not blocked and not waiting else (usual, blocked, waiting))
