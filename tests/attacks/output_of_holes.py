# the judge's server | an output of nothing but a hole in its file, to the last byte allowed | wrong output, in little time and memory
#: tests=[("", "1"), ("", "\0")], verdicts=["wrong output"], output_bytes=2**26, held_mb=400, beside_s=3
import os
os.ftruncate(1, 1 << 26)
