"""Programs that show whether a judge can be trusted on a machine. Data only; rlef_plugin/judge/check.py runs them in
the jail that judged programs get.

    CHECKS     show from the inside whether a jail holds: each prints `ok`, or says what it could do
    VERDICTS   right and wrong programs, whose verdicts are known"""

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
}

FORKS_AND_THREADS = """
import os, threading
threads = [threading.Thread(target=int) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
end, open_end = os.pipe()
children = [os.fork() or (os.close(open_end), os.read(end, 1), os._exit(n < 7)) for n in range(16)]
os.close(open_end)  # until now all of them lived
print(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""

# Right and wrong programs, each with its input and what it gets where 7 is the expected output: (what it is, program,
# input, CPU limit in seconds, label of the verdict). A run starts only where all of them are judged so.
VERDICTS = (
    ("a right program", "print(sum(map(int, input().split())))", "3 4", 5, "accepted"),
    ("a program that prints something else", "print(8)", "", 5, "wrong output"),
    ("a program that raises", "raise ValueError(7)", "", 5, "exception"),
    ("a program that loops", "while True: pass", "", 0.2, "timeout"),
    ("a program that takes too much memory", "held = b'x' * (1 << 30)\nprint(7)", "", 5, "out of memory"),
    ("a program that does not compile", "print(7", "", 5, "invalid code"),
    ("a program that starts threads and processes", FORKS_AND_THREADS, "", 5, "accepted"),
)
