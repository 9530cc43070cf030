# the runner | the files that all processes of a jail have open together | the next test, and its descriptors, are fine
#: tests=[("0", "held"), ("1", "held")]
import os, time
if input() == "0":
    for _ in range(44):
        if os.fork() == 0:
            try:
                while True:
                    os.open("/dev/null", os.O_RDONLY)
            except OSError:
                time.sleep(30)
    time.sleep(0.3)
print("held")
