# clocks | CPU time of a sibling (CLONE_PARENT), which is no child of the program | it counts, or there can be none
#: verdicts=["accepted|timeout"], cpu_s=0.3
import ctypes, os, time
libc = ctypes.CDLL(None)
CLONE_PARENT, SIGCHLD = 0x8000, 17
child = libc.syscall(56, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
if child == 0:
    end = time.process_time() + 2
    while time.process_time() < end:
        pass
    os._exit(0)
if child > 0:
    time.sleep(2.5)
print("held" if child < 0 else "2 s were used")
