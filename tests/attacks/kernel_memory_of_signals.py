# kernel memory | queued signals, which are counted by user and not by jail | the queue is bounded, and empty in each test
#: tests=[("", "held"), ("", "held")]
import ctypes, os, signal, struct
libc = ctypes.CDLL(None, use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, range(34, 65))
info = ctypes.create_string_buffer(128)
struct.pack_into("iii", info, 0, 40, 0, -1)
queued = 0
while queued < 300_000 and libc.syscall(129, os.getpid(), 40, info) == 0:  # rt_sigqueueinfo
    queued += 1
print("held" if queued < 300_000 else queued)
