# calls of a function | values that hold themselves, are nested without end, or too large | a verdict on this program
#: call={"entry_point": "f"}, tests=[(f"[{n}]", "1") for n in range(7)], cpu_s=3, memory_mb=256
#: verdicts=["wrong output|exception|output limit|timeout|out of memory"]
import os
def f(n):
    if n == 0:
        value = []
        value.append(value)
        return value
    if n == 1:
        value = ()
        for _ in range(40):
            value = (value, value) if len(str(value)) < 10**5 else (value,)
        return value
    if n == 2:
        return 7 ** 10**6
    if n == 3:
        return {float("nan"): {1j * float("inf"): "\udcff\ud800"}}
    if n == 4:
        os.write(1, b"\x1e" + b"[" * 200_000 + b"\n")
        os._exit(0)
    if n == 5:
        os.write(1, b"\x1e" + b'{"tuple": [' * 90 + b'{"int": "' + b"f" * 10**6 + b'"}\n')
        os._exit(0)
    os.write(1, b"\x1e" + b'{"complex": ["1e999", "nan"], "int": "0x1"}\n\x1e1e400\n\x1e-0\n\x1e01\n\x1e1_0\n\x1eNaN\n')
    os._exit(0)
