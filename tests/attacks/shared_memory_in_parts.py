# shared memory | the sum of shared mappings that twenty processes hold apart | refused, or out of memory
#: verdicts=["accepted|out of memory|exception"], memory_mb=64, held_mb=300, cpu_s=4
import mmap, os, time
SIZE = 25 << 20
refused, pipe = 0, os.pipe()
for _ in range(20):
    if os.fork() == 0:
        try:
            part = mmap.mmap(-1, SIZE)
            part.write(bytes(SIZE))
            part.madvise(mmap.MADV_DONTNEED)
            os.write(pipe[1], b"y")
        except (OSError, MemoryError):
            os.write(pipe[1], b"n")
        time.sleep(2)
        os._exit(0)
answers = b""
while len(answers) < 20:
    answers += os.read(pipe[0], 20)
time.sleep(1.5)
print("held" if b"y" not in answers else "500 MiB were held")
