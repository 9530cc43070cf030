# the compiler | the encoding that a source says it is in, of which some run code or read without end | as CPython, or invalid code
#: source="# -*- coding: unicode_escape -*-\n" + "x = '\\\\u0041'\n" * 5 + "print('held')"
#: verdicts=["accepted|invalid code"]
