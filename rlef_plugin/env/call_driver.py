"""Runs in the jail, behind a program: reads the arguments of calls, makes the calls, prints what they return.

Standard input is a JSON list of calls, each a list of arguments; each result is a line of its own, which begins with
the character RS. Values are JSON, and what JSON lacks is an object with one tag: {"tuple": [...]}, {"set": [...]},
{"dict": [[key, value], ...]}, {"bytes": hex}, {"complex": [real, imaginary]}, {"int": hex} beyond 53 bits, {"str": hex
of UTF-8} with lone surrogates, {"object": type} for all else. One number of numpy's is that number. NaN and the
infinities are written as Python's json does. `values.py` is the other side, which trusts nothing of this.

Standard library only. `calls.py` puts the text of `_rlef_call` behind the program, so everything it needs is inside
it, and it runs with names of its own: a program may call a function of its own `list` or `encode`.
"""


def _rlef_call(names: dict, entry_point: str, method_of: str | None) -> None:
    import json
    import os
    import sys

    depth_limit = 100

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
        if depth >= depth_limit:
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

    arguments = sys.stdin.read()
    if not arguments:
        sys.exit("The program read the standard input, which it must leave alone.")
    owner = names.get(method_of) if method_of else None
    function = getattr(owner(), entry_point, None) if owner else names.get(entry_point)
    if function is None:
        sys.exit(f"The program does not define {method_of + '.' if method_of else ''}{entry_point}.")
    for call in json.loads(arguments):
        result = function(*decode(call))
        line = b"\n\x1e%b\n" % json.dumps(encode(result)).encode()
        sys.stdout.flush()
        while line:
            line = line[os.write(1, line) :]
        if owner:
            function = getattr(owner(), entry_point)
