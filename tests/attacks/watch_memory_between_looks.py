# the judge's watch | memory that is there for a tenth of a second, again and again | never more than the limit for long
#: verdicts=["accepted|out of memory|timeout"], memory_mb=64, cpu_s=2, held_mb=520
import os, time
children = []
for _ in range(6):
    children.append(os.fork())
    if children[-1] == 0:
        for _ in range(12):
            keep = b"x" * (60 << 20)
            keep = None
            time.sleep(0.15)
        os._exit(0)
for child in children:
    os.waitpid(child, 0)
print("held")
