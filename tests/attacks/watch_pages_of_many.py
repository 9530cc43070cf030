# the judge's watch | the count of pages that forty processes map, each by pages of 4 KiB | the program beside it is answered at once
#: verdicts=["timeout|out of memory"], cpu_s=0.3, memory_mb=256, output_bytes=2**26, held_mb=700, beside_s=4
import mmap, os, time
SIZE = 48 << 20
with open("/tmp/pages", "w+b") as file:
    for _ in range(4):
        file.write(bytes(12 << 20))
    file.flush()
    for _ in range(40):
        if os.fork() == 0:
            break
    pages = mmap.mmap(file.fileno(), SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
    sum(pages[at] for at in range(0, SIZE, 4096))
    time.sleep(60)
