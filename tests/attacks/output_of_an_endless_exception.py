# the judge's server | what an exception says: its chain of causes, its notes, its name, and bytes that are no text | an exception, and nothing breaks
#: tests=[("0", ""), ("1", ""), ("2", ""), ("3", "")], verdicts=["exception"], cpu_s=5, memory_mb=256
import sys
n = int(input())
if n == 0:
    error = None
    for _ in range(20_000):
        try:
            raise KeyError from error
        except KeyError as caught:
            error = caught
    raise error
if n == 1:
    error = ValueError("\ud800\x1b[2J\0" * 100_000)
    error.add_note("y" * 10**6)
    raise error
if n == 2:
    class Endless(Exception):
        __qualname__ = "x" * 10**6
        def __str__(self):
            raise self
    raise Endless
sys.stderr.buffer.write(b"\xff\0\xfe" * 3 * 10**6)
raise ExceptionGroup("x", [ExceptionGroup("y", [ValueError()] * 1000)] * 1000)
