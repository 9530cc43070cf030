# system calls | fcntl, of locks that belong to an open file description, and of leases | refused before the kernel looks
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
for command in (37, 38, 1024, 1026, 1033):  # F_OFD_SETLK, F_OFD_SETLKW, F_SETLEASE, F_NOTIFY, F_ADD_SEALS
    for upper in (0, 1 << 32):
        libc.syscall(*map(ctypes.c_long, (72, -1, command | upper, 0)))
        answers[command] = ctypes.get_errno()
print("held" if set(answers.values()) - {9} <= {1, 38} and answers[37] != 9 and answers[38] != 9 else answers)
