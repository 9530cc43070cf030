# the judge's watch | memory of a process whose first thread has ended, so that its smaps_rollup is empty | out of memory
#: verdicts=["out of memory"], cpu_s=3, memory_mb=64, held_mb=350
import ctypes, os, threading, time
def hold():
    try:
        time.sleep(0.3)  # until the first thread is gone
        keep = b"x" * (55 << 20)
        time.sleep(3)
    finally:
        os._exit(0)
threading.stack_size(1 << 18)
children = []
for _ in range(10):
    children.append(os.fork())
    if children[-1] == 0:
        threading.Thread(target=hold).start()
        ctypes.CDLL(None).syscall(60, 0)  # exit of this thread alone
for child in children:
    os.waitpid(child, 0)
print("550 MiB were held")
