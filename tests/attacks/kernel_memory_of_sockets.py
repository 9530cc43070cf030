# kernel memory | buffers of sockets, whose size no limit counts | bounded, or out of memory
#: verdicts=["accepted|out of memory"], memory_mb=64, held_mb=260, cpu_s=4
import os, socket, time
children = []
for _ in range(24):
    children.append(os.fork())
    if children[-1] == 0:
        pairs, left = [], 40 << 20
        try:
            while left > 0:
                pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
                for end in pairs[-1]:
                    end.setblocking(False)
                    try:
                        while left > 0:
                            left -= end.send(b"x" * 65536)
                    except OSError:
                        pass
        except OSError:
            pass
        time.sleep(1.5)
        os._exit(0)
for child in children:
    os.waitpid(child, 0)
print("held")
