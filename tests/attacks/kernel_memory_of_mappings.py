# kernel memory | a record for each mapping, of which sixteen processes have thirty thousand | bounded, others go on
#: verdicts=["accepted|out of memory|timeout"], memory_mb=32, cpu_s=4, held_mb=500, beside_s=20
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
children = []
for _ in range(16):
    children.append(os.fork())
    if children[-1] == 0:
        start = libc.mmap(None, 30_000 << 12, 1, 0x4022, -1, 0)
        for page in range(0, 30_000, 2):
            libc.madvise(start + (page << 12), 4096, 10)  # MADV_DONTFORK, of every second page
        time.sleep(1.2)
        os._exit(0)
for child in children:
    os.waitpid(child, 0)
print("held")
