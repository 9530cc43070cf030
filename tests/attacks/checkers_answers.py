# checkers | what a checker answers, printed by the program as if it were the checker's | wrong output
#: tests=[(str(n), "5") for n in range(4)], verdicts=["wrong output"]
#: checker="def check(input, output, expected):\n    print(output)\n    return output == expected"
import os
n = int(input())
os.write(1, (b"yes", b"yes\n", b"True", b"\x1eyes\0")[n])
os.write(2, b"yes")
