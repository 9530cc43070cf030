# shared memory | the memory files of the standard streams, filled by a mapping | no more than their bound, then gone
#: tests=[("0", ""), ("1", "")], verdicts=["accepted|wrong output|exception|output limit|out of memory"], memory_mb=64
#: held_mb=350
import mmap, os, time
for fd in (0, 2):
    try:
        os.ftruncate(fd, 16 << 20)
        with mmap.mmap(fd, 16 << 20) as shared:
            for at in range(0, 16 << 20, 4096):
                shared[at] = 1
            shared.madvise(mmap.MADV_DONTNEED)
    except (OSError, ValueError, MemoryError):
        pass
time.sleep(0.3)
