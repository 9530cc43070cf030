# the runner | the stack, filled by the arguments of a program that it starts, to its limit | the next test is fine
#: tests=[("0", "held"), ("1", "held")], cpu_s=3, memory_mb=256
import os, sys
if input() == "0":
    for size in (1 << 17, 1 << 21, 1 << 24):
        try:
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-c", ""] + ["x" * 100_000] * (size // 100_000))
        except OSError:
            os._exit(0)
        os.wait()
print("held")
