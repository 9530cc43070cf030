# system calls | the numbers of 32-bit programs and of x32, which a list of numbers may miss | refused, or the end of the program
#: verdicts=["accepted|exception"]
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(0x40000000 | 39) == os.getpid():
    print("getpid of x32")
code = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret: getpid of a 32-bit program
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
print("held" if call() != os.getpid() else "getpid of 32 bits")
