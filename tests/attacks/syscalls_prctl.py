# system calls | prctl, of what no ordinary program asks for | refused before the kernel looks at the arguments
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
# SET_SECCOMP with a mode that does not exist, SET_SECUREBITS, SET_MM, CAP_AMBIENT, IO_FLUSHER, SYSCALL_USER_DISPATCH,
# SCHED_CORE, SET_MDWE: each with arguments that mean nothing
for option in (22, 28, 35, 47, 57, 59, 62, 65):
    for upper in (0, 1 << 32):
        libc.syscall(*map(ctypes.c_long, (157, option | upper, 99, 99, 99, 99)))
        answers[option] = ctypes.get_errno()
libc.syscall(*map(ctypes.c_long, (317, 99, 0, 0)))  # seccomp, of an operation that does not exist
answers["seccomp"] = ctypes.get_errno()
print("held" if set(answers.values()) <= {1, 38} else answers)
