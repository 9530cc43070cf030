# streams of a test | flags, owner and signal of the streams' open file descriptions | the next test finds none of them
#: tests=[("0", "held"), ("1", "held")]
import fcntl, os
def ask(fd, command):
    try:
        return fcntl.fcntl(fd, command)
    except OSError:
        return 0
before = [(ask(fd, fcntl.F_GETFL), ask(fd, fcntl.F_GETOWN), ask(fd, 11)) for fd in range(3)]
for fd in range(3):
    for command, value in ((fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK), (fcntl.F_SETOWN, os.getpid()), (10, 40)):
        try:
            fcntl.fcntl(fd, command, value)
        except OSError:
            pass
changed = [one for one in before if one[0] & (os.O_APPEND | os.O_NONBLOCK) or one[1] or one[2]]
print("held" if not changed else changed)
