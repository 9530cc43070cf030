# streams of a test | the output, written on by processes that outlive their test | only its own test's output changes
#: tests=[("0", "0"), ("1", "held"), ("2", "held")], verdicts=["accepted|wrong output", "accepted", "accepted"]
import mmap, os
n = input()
if n != "0":
    print("held")
    os._exit(0) if not __import__("sys").stdout.flush() else 0
os.write(1, b"0\n" + bytes(4094))
os.ftruncate(1, 4096)
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        shared = mmap.mmap(1, 4096)
        while True:
            shared[:5] = b"false"
            os.pwrite(2, b"false", 0)
            os.pwrite(0, b"5", 0)
