"""Runs in the jail, around a program: reads the arguments of calls, makes the calls, prints what they return.

Standard input is a JSON list of calls, each a list of arguments; each result is a line of its own, which begins with
the character RS. Values are JSON, and what JSON lacks is an object with one tag: {"tuple": [...]}, {"set": [...]},
{"dict": [[key, value], ...]}, {"bytes": hex}, {"complex": [real, imaginary]}, {"int": hex} beyond 53 bits, {"str": hex
of UTF-8} with lone surrogates, {"object": type} for all else. One number of numpy's is that number. NaN and the
infinities are written as Python's json does. `values.py` is the other side, which trusts nothing of this.

Standard library only. The judge runs this text before the program, in a namespace of its own with a copy of the
builtins, and calls `after` when the program has ended: what a program names `list`, or puts in place of
`builtins.len`, `sys.stdin` or `json.dumps`, changes nothing here. `calls.py` sets the two names of the function.
"""

from json.decoder import JSONDecoder
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from os import SEEK_CUR, lseek, pread, write

ENTRY_POINT, METHOD_OF = "", ""  # METHOD_OF is the class, or "" for a function
DEPTH_LIMIT = 100
PIECE_BYTES = 1 << 20

# The two C functions behind json.loads and json.dumps, which look up no name when they run.
read_json = JSONDecoder().scan_once  # type: ignore[attr-defined]
write_json = c_make_encoder(None, None, encode_basestring_ascii, None, ": ", ", ", False, False, True)


def encode(value: object, depth: int = 0) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return value if value.isascii() or value == raw.decode("utf-8", "replace") else {"str": raw.hex()}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value) if -(2**53) < value < 2**53 else {"int": hex(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    if depth >= DEPTH_LIMIT:
        return {"object": "a deeply nested value"}
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():  # such as of np.sum
        return encode(value.item(), depth + 1)  # type: ignore[attr-defined]
    if isinstance(value, list):
        return [encode(one, depth + 1) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(one, depth + 1) for one in value]}
    if isinstance(value, set | frozenset):
        return {"set": [encode(one, depth + 1) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, depth + 1), encode(one, depth + 1)] for key, one in value.items()]}
    return {"object": type(value).__module__ + "." + type(value).__qualname__}


def decode(value):  # type: ignore[no-untyped-def]
    if isinstance(value, list):
        return [decode(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "tuple":
        return tuple(decode(one) for one in content)
    if tag == "set":
        return {decode(one) for one in content}
    if tag == "dict":
        return {decode(key): decode(one) for key, one in content}
    if tag == "str":
        return bytes.fromhex(content).decode("utf-8", "surrogatepass")
    return int(content, 16) if tag == "int" else complex(*content) if tag == "complex" else bytes.fromhex(content)


def read_arguments() -> str:
    if lseek(0, 0, SEEK_CUR):
        raise SystemExit("The program read the standard input, which it must leave alone.")
    data = bytearray()
    while piece := pread(0, PIECE_BYTES, len(data)):
        data += piece
    return data.decode()


def print_value(value: object) -> None:
    line = b"\n\x1e%b\n" % "".join(write_json(encode(value), 0)).encode()
    while line:
        line = line[write(1, line) :]


def find_function(names):  # type: ignore[no-untyped-def]
    """Of a class: the method of an object made for this call."""
    if METHOD_OF:
        owner = names.get(METHOD_OF)
        function = getattr(owner(), ENTRY_POINT, None) if owner else None
    else:
        function = names.get(ENTRY_POINT)
    if function is None:
        raise SystemExit(f"The program does not define {METHOD_OF + '.' if METHOD_OF else ''}{ENTRY_POINT}.")
    return function


def after(names: dict) -> None:
    """Makes the calls, with the names that the program has left."""
    calls, _ = read_json(read_arguments(), 0)
    for arguments in calls:
        print_value(find_function(names)(*decode(arguments)))
