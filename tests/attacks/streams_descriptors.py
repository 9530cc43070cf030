# streams of a test | every other open descriptor that a program starts with | there is none
import os
opened = []
for fd in range(256):
    try:
        opened.append((fd, oct(os.fstat(fd).st_mode)))
    except OSError:
        pass
print("held" if [fd for fd, _ in opened] == [0, 1, 2] else opened)
