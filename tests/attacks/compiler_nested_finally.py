# the compiler | code that it writes twice for each `finally`, nested | bounded time and memory
#: source="\n".join(" " * n + "try:\n" + " " * n + " pass\n" + " " * n + "finally:" for n in range(19)) + "\n" + " " * 20 + "print('held')"
#: verdicts=["accepted|invalid code|out of memory"], held_mb=700, cpu_s=4
