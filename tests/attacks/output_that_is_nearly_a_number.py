# the judge's server | tokens that a pattern of numbers takes apart again and again | wrong output, in time that grows with its size
#: tests=[("", "1"), ("", "1e5"), ("", "1.")], verdicts=["wrong output"], output_bytes=2**25, beside_s=3
import os
os.write(1, (b"1" * 10_000 + b".") * 500 + b"e" * 100 + (b"+1e" * 10_000) + b"." * 10**6 + b"1" * 10**7 + b"x")
