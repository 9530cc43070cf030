# exactness | the exit status of everything that sys.exit takes | as CPython
#: tests=[("None", ""), ("0", ""), ("256", ""), ("-1", ""), ("'text'", ""), ("3.0", ""), ("True", ""), ("2**70", ""), ("[]", "")]
#: as_cpython=True
import sys
code = eval(input())
print("out", code)
sys.exit(code)
