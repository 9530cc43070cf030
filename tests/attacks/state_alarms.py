# state of a process | interval timers of a test, of its children and of those that stay | no alarm comes in the next test
#: tests=[("0", "held"), ("1", "held")]
import os, signal, time
if input() == "0":
    if os.fork() == 0:
        os.setsid()
        while True:
            os.kill(1, signal.SIGALRM)
            time.sleep(0.001)
    for kind in (signal.ITIMER_REAL, signal.ITIMER_PROF, signal.ITIMER_VIRTUAL):
        signal.setitimer(kind, 0.2, 0.2)
    print("held")
else:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
    print("held" if signal.getitimer(signal.ITIMER_REAL) == (0, 0) else "a timer")
