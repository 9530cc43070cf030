# kernel memory | the cache of names, filled with names that no folder of the libraries has | bounded, others go on
#: verdicts=["timeout|out of memory"], cpu_s=1, held_mb=400
import os
n = 0
while True:
    try:
        os.stat(f"/usr/lib/{'x' * 200}{n}")
    except OSError:
        n += 1
