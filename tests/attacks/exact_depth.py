# exactness | how deep a function may call itself, and what a profiler and a tracer see | as CPython
#: as_cpython=True
import sys
def depth(n=1):
    try:
        return depth(n + 1)
    except RecursionError:
        return n
print(depth(), sys.getrecursionlimit())
calls = []
sys.setprofile(lambda frame, event, _: calls.append((event, frame.f_code.co_name)))
depth(990)
sys.setprofile(None)
print(len(calls), calls[-1], sys.gettrace())
