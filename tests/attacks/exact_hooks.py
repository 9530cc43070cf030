# exactness | the hooks that CPython calls for exceptions and for what it cannot raise | as CPython
#: tests=[("0", ""), ("1", ""), ("2", "")], as_cpython=True
import sys, threading
sys.excepthook = lambda kind, *_: print("hook", kind.__name__)
threading.excepthook = lambda arguments: print("thread", arguments.exc_type.__name__)
n = int(input())
if n == 0:
    sys.unraisablehook = lambda arguments: print("unraisable", arguments.exc_type.__name__)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    class Bad:
        def __del__(self):
            raise KeyError
    Bad()
if n == 1:
    raise OSError
if n == 2:
    sys.excepthook = None
    raise KeyboardInterrupt
