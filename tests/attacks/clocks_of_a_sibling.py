# clocks | CPU time of a sibling (CLONE_PARENT), which is no child of the program | it counts
#: verdicts=["timeout"], cpu_s=0.3
import ctypes, os, time
libc = ctypes.CDLL(None)
CLONE_PARENT, SIGCHLD = 0x8000, 17
if libc.syscall(56, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0:
    end = time.process_time() + 2
    while time.process_time() < end:
        pass
    os._exit(0)
time.sleep(2.5)
print("2 s were used")
