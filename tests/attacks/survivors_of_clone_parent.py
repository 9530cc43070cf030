# processes of a test | siblings that are children of the runner (CLONE_PARENT), and end before the test | no result but the test's own
#: tests=[("0", "0"), ("1", "1")], cpu_s=1
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
CLONE_PARENT, SIGCHLD = 0x8000, 17
n = input()
for status in range(5):
    if libc.syscall(56, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(status)
time.sleep(0.3)
print(n)
