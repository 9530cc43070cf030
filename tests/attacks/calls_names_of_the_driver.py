# calls of a function | global names of a right program that are also names of Python's own | accepted
#: call={"entry_point": "f"}, tests=[("[3]", "[12, \"3\"]"), ("[4]", "[19, \"4\"]")], verdicts=["accepted"]
text = str
def f(x):
    return [x * x + 3, text(x)]
list = dict = type = int = float = bytes = tuple = "a value of an example"
isinstance = getattr = len = map = open = repr = print = None
json = sys = os = encode = decode = 5
__name__ = __file__ = "other"
