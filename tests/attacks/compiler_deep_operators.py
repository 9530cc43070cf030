# the compiler | the C stack, by a hundred thousand operators of each kind | a verdict, and the judge is unharmed
#: source="if 0:\n x = " + "-" * 5000 + "1\n y = " + "1+" * 10**5 + "1\n z = " + "(" * 150 + ")" * 150 + "\n w = " + "x." * 10**5 + "x\nprint('held')"
#: verdicts=["accepted|invalid code|exception"]
