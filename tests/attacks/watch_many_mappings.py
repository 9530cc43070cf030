# the judge's watch | the lock of an address space with sixty thousand mappings, held by threads | the program beside it is answered at once
#: verdicts=["timeout|out of memory"], cpu_s=3, beside_s=4
import ctypes, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
start = libc.mmap(None, 60_000 << 12, 1, 0x4022, -1, 0)
for page in range(0, 60_000, 2):
    libc.mprotect(start + (page << 12), 4096, 3)
def storm():
    while True:
        libc.mprotect(start, 60_000 << 12, 1)
        for page in range(0, 60_000, 2):
            libc.mprotect(start + (page << 12), 4096, 3)
for _ in range(4):
    threading.Thread(target=storm).start()
