# checkers | a checker that reads numbers, given what is no number or too long for one | wrong output, and the judge goes on
#: tests=[(str(n), "5") for n in range(6)], verdicts=["wrong output|output limit"]
#: checker="def check(input, output, expected):\n    return abs(int(output) - int(expected)) == 0 or output.strip().isdigit() and int(output) == 5"
import os
n = int(input())
os.write(1, ("\u00b2", "9" * 60_000, "\0", "1e5", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "")[n].encode())
