# runner's memory | objects of the garbage collector that hold earlier input or output | none is found
#: tests=[("first", "held"), ("second", "held"), ("third", "held")]
import gc, sys
mine = input()
marks = [word for word in ("fi" "rst", "sec" "ond", "th" "ird") if word != mine]
def holds(thing):
    if isinstance(thing, (list, tuple, set)):
        return any(holds(one) for one in list(thing)[:50] if isinstance(one, (bytes, bytearray, str, memoryview)))
    if isinstance(thing, dict):
        return holds(list(thing.values()))
    text = bytes(thing) if isinstance(thing, (bytes, bytearray, memoryview)) else str(thing).encode()
    return any(b"left by " + mark.encode() in text for mark in marks)
found = [type(one).__name__ for one in gc.get_objects() if isinstance(one, (list, tuple, set, dict)) and holds(one)]
frame = sys._getframe().f_back
while frame:
    found += [name for name, value in frame.f_locals.items() if isinstance(value, (bytes, bytearray)) and holds(value)]
    frame = frame.f_back
print("held" if not found else found)
sys.stdout.flush()
sys.stderr.write("left by " + mine)
