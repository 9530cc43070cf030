# system calls | setsockopt, by which filters and buffers are set | refused for every option, before the kernel looks at the socket
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
answers = set()
SO_SNDBUF, SO_RCVBUF, SO_SNDBUFFORCE, SO_ATTACH_FILTER, SO_LOCK_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT = 7, 8, 32, 26, 44, 50, 51
for option in (SO_SNDBUF, SO_RCVBUF, SO_SNDBUFFORCE, SO_ATTACH_FILTER, SO_LOCK_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT):
    for level in (1, 1 | 1 << 32):
        libc.syscall(*map(ctypes.c_long, (54, -1, level, option, 0, 0)))  # of no socket: harmless even if allowed
        answers.add(ctypes.get_errno())
print("held" if answers <= {1, 38} else answers)
