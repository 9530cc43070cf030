"""Programs that show from the inside whether a jail holds: each prints `ok`, or says what it could do. Data only; the
judge runs them (`check_sandbox`), so the same jail is checked that programs will get."""

CHECKS = {
    "hello world": "print('ok')",
    "no host files": """
import os
seen = [p for p in ("/etc/passwd", "/root", "/home", "/proc/self", "/sys", "/var") if os.path.exists(p)]
print("sees " + ", ".join(seen) if seen else "ok")
""",
    "read-only system": """
import os
written = []
for folder in ("/", "/usr/lib", "/dev", os.path.dirname(os.__file__)):
    try:
        open(folder + "/written-by-a-program", "w").close()
        written.append(folder)
    except OSError:
        pass
print("writes to " + ", ".join(written) if written else "ok")
""",
    "no network": """
import socket
try:
    socket.socket().connect(("127.0.0.1", 1))
    print("connects")
except ConnectionRefusedError:
    print("makes a socket")
except OSError:
    print("ok")
""",
    "processes limited": """
import os
made = 0
try:
    while made < 200:
        if os.fork() == 0:
            os.read(os.pipe()[0], 1)
        made += 1
    print("starts 200 processes")
except OSError:
    print("ok")
""",
    "memory limited": """
try:
    x = b"x" * (4 << 30)
    print("takes 4 GiB")
except MemoryError:
    print("ok")
""",
}
