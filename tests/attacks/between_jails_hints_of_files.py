# between jails | notes that a file's inode keeps (F_SET_RW_HINT) of files that jails share | refused
import fcntl, os, struct
F_SET_RW_HINT, F_SET_FILE_RW_HINT = 1036, 1038
taken = []
for name in ("/dev/null", "/dev/urandom", os.__file__, "/usr/lib"):
    file = os.open(name, os.O_RDONLY)
    try:
        fcntl.fcntl(file, F_SET_RW_HINT, struct.pack("Q", 2))
        taken.append(name)
    except OSError:
        pass
print("held" if not taken else taken)
