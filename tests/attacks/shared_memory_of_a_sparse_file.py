# shared memory | the size of a tmpfs, passed by a mapping of a sparse file | ends with the signal SIGBUS, or as refused
#: verdicts=["exception|out of memory|accepted"], memory_mb=64, held_mb=250
import mmap, os
file = os.open("/tmp/sparse", os.O_RDWR | os.O_CREAT)
try:
    os.ftruncate(file, 16 << 20)
    parts = [os.open(f"/tmp/sparse{i}", os.O_RDWR | os.O_CREAT) for i in range(20)]
    for part in parts:
        os.ftruncate(part, 15 << 20)
    for part in parts:
        with mmap.mmap(part, 15 << 20) as shared:
            for at in range(0, 15 << 20, 4096):
                shared[at] = 1
except (OSError, MemoryError, ValueError):
    print("held")
    os._exit(0)
print("300 MiB in a folder of 64")
