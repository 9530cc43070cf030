# exactness | the program as the module __main__, and as a file that others can read and import | as CPython
#: as_cpython=True
import inspect, os, pickle, sys
class Point:
    def __init__(self, x):
        self.x = x
print(sorted(name for name in globals() if not name.startswith("_")))
print(pickle.loads(pickle.dumps(Point(5))).x, sys.modules["__main__"].Point is Point, sys.argv, len(inspect.stack()))
print(inspect.getsource(Point), os.path.basename(__file__), __name__, __doc__, __spec__, __package__)
