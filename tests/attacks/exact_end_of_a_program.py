# exactness | what runs after the last line: threads, atexit, finalizers, generators and unwritten files | as CPython
#: as_cpython=True
import atexit, sys, threading, time
class Last:
    def __del__(self):
        print("deleted")
def generator():
    try:
        yield 1
    finally:
        print("closed")
last, running = Last(), generator()
next(running)
unwritten = sys.stdout.__class__(open(1, "wb", closefd=False))
unwritten.write("written at the end\n")
atexit.register(print, "first registered")
atexit.register(print, "then registered")
threading.Thread(target=lambda: (time.sleep(0.2), print("from a thread"))).start()
print("last line")
