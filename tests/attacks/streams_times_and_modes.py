# streams of a test | times and modes of the streams' memory files | the next test finds none of them
#: tests=[("0", "held"), ("1", "held")]
import os, time
found = [os.fstat(fd) for fd in range(3)]
left = [fd for fd, one in enumerate(found) if int(one.st_mtime) == 77 or one.st_mode & 0o777 == 0o147]
for fd in range(3):
    for change in (lambda: os.utime(fd, (77, 77)), lambda: os.fchmod(fd, 0o147)):
        try:
            change()
        except PermissionError:
            pass
print("held" if not left else f"left at {left}")
