# the compiler | a constant of six hundred thousand digits, which takes quadratic time to read | invalid code or the constant, in bounded time
#: source="x = " + "7" * 600_000 + "\nprint('held')", verdicts=["accepted|invalid code"], within_s=90
