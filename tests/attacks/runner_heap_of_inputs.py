# runner's memory | freed memory in which inputs of earlier tests may still stand | none is found
#: tests=[("left-by-input-0" * 300, "held"), ("left-by-input-1" * 300, "held"), ("left-by-input-2" * 300, "held")]
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = libc.memmem.restype = ctypes.c_void_p
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
libc.memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
reader, writer = os.pipe()
top = (libc.sbrk(0) + 4095) & ~4095
start = top
while libc.write(writer, start - 4096, 1) == 1:  # such a page can be read
    os.read(reader, 1)
    start -= 4096
found = 0
for n in "012":
    mark = b"-by-input-" + n.encode() + b"left"
    at = start
    while (hit := libc.memmem(at, top - at, mark, len(mark))) is not None:
        found += 1
        at = hit + 1
mine = input()
print("held" if found < 5 else f"{found} pieces of inputs")
