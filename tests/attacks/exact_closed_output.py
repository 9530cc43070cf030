# exactness | output that cannot be written at the end: exit status 120, and what went before | as CPython
#: tests=[("0", ""), ("1", ""), ("2", "")], as_cpython=True
import os, sys
n = int(input())
print("before", flush=True)
print("after")
if n == 0:
    os.close(1)
if n == 1:
    sys.stdout.close()
if n == 2:
    sys.stdout = None
