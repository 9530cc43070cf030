# system calls | ioctl, of anything but what a file or a terminal is asked for | refused before the kernel looks, as what that file cannot do
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
# TIOCSTI, TIOCLINUX, TIOCSCTTY, FICLONE, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, SIOCGIFCONF, SIOCSIFFLAGS, RNDADDENTROPY,
# FIFREEZE, LOOP_CTL_ADD, UFFDIO_API: of no descriptor, so harmless even if allowed
for command in (0x5412, 0x541C, 0x540E, 0x40049409, 0x40086602, 0x401C5820, 0x8912, 0x8914, 0x40085203, 0xC0045877,
                0x4C80, 0xC018AA3F):
    for upper in (0, 1 << 32):
        libc.syscall(*map(ctypes.c_long, (16, -1, command | upper, 0)))
        answers[hex(command)] = ctypes.get_errno()
print("held" if set(answers.values()) <= {1, 38, 25, 95} else answers)
