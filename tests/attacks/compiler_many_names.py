# the compiler | fifty thousand names, constants and lines | a verdict, with bounded memory
#: source="\n".join(f"name{i} = {i} + {i}.5" for i in range(50_000)) + "\nprint('held')"
#: verdicts=["accepted|invalid code|out of memory"], held_mb=700, cpu_s=4
