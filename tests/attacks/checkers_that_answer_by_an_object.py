# checkers | a checker that returns what its regular expression found, which is neither True nor False for some outputs | wrong output, and the judge goes on
#: tests=[("0", "5"), ("1", "5")], verdicts=["wrong output|accepted", "wrong output"]
#: checker="import re\ndef check(input, output, expected):\n    found = re.fullmatch('(\\\\d)(x)?', output)\n    return found and (found[2] or found[1] == expected)"
print(("5x", "no")[int(input())], end="")
