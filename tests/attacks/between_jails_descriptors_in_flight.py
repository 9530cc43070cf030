# between jails | the number of descriptors that a user may have under way in sockets | another program can still send one
#: verdicts=["accepted"], cpu_s=2
#: beside="import os, socket\nn = int(input())\na, b = socket.socketpair()\ntry:\n    socket.send_fds(a, [b'x'], [0])\n    n += 1\nexcept OSError as error:\n    n = n + 1 if error.errno in (1, 38) else error\nprint(n)"
import array, os, socket, time
children = []
for _ in range(3):
    children.append(os.fork())
    if children[-1] == 0:
        pairs = []
        try:
            while True:
                pairs.append(socket.socketpair())
                for end in pairs[-1]:
                    end.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 50))])
        except OSError:
            pass
        time.sleep(1.5)
        os._exit(0)
for child in children:
    os.waitpid(child, 0)
print("held")
