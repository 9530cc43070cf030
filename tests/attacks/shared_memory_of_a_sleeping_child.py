# shared memory | pages of a shared mapping that only a page table gone by now ever held | refused, or out of memory
#: verdicts=["accepted|out of memory|exception"], memory_mb=64, held_mb=300, unbounded="pages of a shared mapping that no page table holds"
import mmap, os, time
SIZE = 400 << 20
try:
    shared = mmap.mmap(-1, SIZE)
except (OSError, MemoryError):
    print("held")
    os._exit(0)
child = os.fork()
if child == 0:
    time.sleep(3)  # has the mapping and not one page of it
    os._exit(0)
for at in range(0, SIZE, 4096):
    shared[at] = 1
    if at % (16 << 20) == 0:
        shared.madvise(mmap.MADV_DONTNEED, 0, at + 4096)
shared.close()
time.sleep(1.5)
print("400 MiB were held")
