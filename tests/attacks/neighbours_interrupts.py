# neighbours | interrupts of all cores, by membarrier and by changes of a mapping that threads share | the program beside it is right
#: verdicts=["timeout|out of memory"], cpu_s=1
import ctypes, os, threading
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
page = libc.mmap(None, 1 << 16, 3, 0x22, -1, 0)
libc.syscall(324, 16, 0)  # membarrier: register, expedited
def storm():
    while True:
        libc.syscall(324, 8, 0)
        libc.mprotect(ctypes.c_void_p(page), 1 << 16, 1)
        libc.mprotect(ctypes.c_void_p(page), 1 << 16, 3)
for _ in range(3):
    os.fork()
for _ in range(3):
    threading.Thread(target=storm).start()
