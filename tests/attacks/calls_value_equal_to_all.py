# calls of a function | a value that says that it is equal to everything, and has a text and a length of its own | wrong output
#: call={"entry_point": "f"}, tests=[("[3]", "12"), ("[4]", "[1, 2]"), ("[5]", "[true]")], verdicts=["wrong output|exception"]
class Equal(int):
    __eq__ = __lt__ = __gt__ = __bool__ = __contains__ = lambda *_: True
    __hash__ = __index__ = __len__ = __int__ = lambda _: 1
    __iter__ = lambda self: iter([self, self])
    __repr__ = __str__ = lambda _: "12"
    __class__ = property(lambda _: list)
def f(x):
    return Equal(5)
