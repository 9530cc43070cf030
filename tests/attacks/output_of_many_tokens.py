# the judge's server | a million tokens, each of which is equal only as a number | judged while others are answered
#: tests=[("", "1.0 " * 10**6)], output_bytes=2**26, cpu_s=5, beside_s=4, within_s=30
import os
part = b"1.0000001\n" * 100_000
for _ in range(10):
    os.write(1, part)
