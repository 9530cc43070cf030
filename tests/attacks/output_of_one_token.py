# the judge's server | one number of ten million digits that is equal only without its zeros | judged while others are answered
#: tests=[("", "7" * 10**7), ("", "-" + "7" * 10**7)], verdicts=["accepted", "wrong output"], output_bytes=2**26
#: beside_s=3
import os
os.write(1, b"+00" + b"7" * 10**7)
