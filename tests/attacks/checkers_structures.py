# checkers | a checker that takes the output apart by its words, lines and keys | wrong output, and the judge goes on
#: tests=[(str(n), "1 2") for n in range(5)], verdicts=["wrong output|output limit"]
#: checker="import json\ndef check(input, output, expected):\n    words = output.split()\n    return {'1': 1, '2': 2}[words[0]] + int(words[1]) == 3 and json.loads(words[2])['x'] == [1]"
import os
n = int(input())
os.write(1, (b"1 2 " + b"[" * 60_000, b"3", b"1", b"1 2 null", b'1 2 {"x":NaN}')[n])
