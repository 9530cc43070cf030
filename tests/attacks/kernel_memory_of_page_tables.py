# kernel memory | page tables of a large mapping, a page of them for each zero page that is read | refused, or out of memory
#: verdicts=["accepted|out of memory|exception"], memory_mb=32, held_mb=200
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
SIZE, STEP = 256 << 30, 2 << 20
start = libc.mmap(None, SIZE, 1, 0x4022, -1, 0)  # MAP_NORESERVE
if start in (None, ctypes.c_void_p(-1).value):
    print("held")
else:
    libc.madvise(start, SIZE, 15)  # MADV_NOHUGEPAGE
    for at in range(start, start + SIZE, STEP):
        ctypes.string_at(at, 1)
    time.sleep(1.2)
    print("512 MiB of page tables")
