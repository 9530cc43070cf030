# system calls | socketpair, of families other than AF_UNIX | refused, whatever stands in an argument's upper half
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
answers, pair = {}, (ctypes.c_int * 2)()
for family in (2, 10, 16, 17, 29, 30, 31, 38, 40, 44):  # inet, inet6, netlink, packet, CAN, TIPC, bluetooth, alg, vsock, xdp
    for upper in (0, 1 << 32):
        libc.syscall(*map(ctypes.c_long, (53, family | upper, 2, 0, ctypes.addressof(pair))))
        answers[family] = ctypes.get_errno()
print("held" if set(answers.values()) <= {1, 38} else answers)
