# shared memory | the machine's pool of huge pages | refused
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_long
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
MAP_PRIVATE_ANONYMOUS, MAP_HUGETLB = 0x22, 0x40000
got = {libc.mmap(None, 2 << 20, 3, MAP_PRIVATE_ANONYMOUS | MAP_HUGETLB | size << 26, -1, 0) for size in (0, 21, 30)}
print("held" if got == {-1} else "a huge page")
