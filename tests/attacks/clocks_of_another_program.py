# clocks | CPU time of a program that takes the process over by exec, again and again | it counts
#: verdicts=["timeout"], cpu_s=0.4
import os, sys
code = "import os, sys\nfor i in range(10**5): pass\nos.execv(sys.executable, sys.orig_argv)"
os.execv(sys.executable, [sys.executable, "-S", "-c", code])
