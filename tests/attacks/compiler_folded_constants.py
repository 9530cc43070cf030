# the compiler | expressions that it computes itself, of which each is as large as it dares | bounded time and memory
#: source="\n".join(f"x{i} = ('{i}' * 4000, b'{i}' * 4000, 3 ** 80 << 40, (1, 2) * 100)" for i in range(5000)) + "\nprint('held')"
#: verdicts=["accepted|invalid code|out of memory"], held_mb=500, cpu_s=4
