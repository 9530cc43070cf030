# processes of a test | a process that waits in vfork for a child that never comes back | a timeout, and the next test is fine
#: tests=[("0", "held"), ("1", "held")], verdicts=["timeout", "accepted"], cpu_s=0.05
import ctypes
if input() == "0":
    libc = ctypes.CDLL(None)
    CLONE_VFORK, CLONE_VM, SIGCHLD = 0x4000, 0x100, 17
    stack = ctypes.create_string_buffer(1 << 16)
    pause = ctypes.cast(libc.pause, ctypes.c_void_p)
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    libc.clone(pause, ctypes.addressof(stack) + 65536 - 64, CLONE_VFORK | CLONE_VM | SIGCHLD, None)
print("held")
