# the judge's server | an output that grows and shrinks as long as anybody reads it | a verdict, and the next test is fine
#: tests=[("0", "1"), ("1", "1"), ("2", "1")], verdicts=["wrong output|output limit|accepted", "wrong output|output limit|accepted", "accepted"]
#: output_bytes=2**23
import os
n = int(input())
if n == 2:
    print(1)
else:
    os.write(1, b"1\n" * 10**6)
    for _ in range(16):
        if os.fork() == 0:
            os.setsid()
            os.fork() and os._exit(0)
            while True:
                os.ftruncate(1, 0)
                os.pwrite(1, b"1\n" * 1000, 4 << 20)
    os._exit(0)
