"""`rlef judge`: the judge for people, on one program or on all of a store's.

    task.py        a problem of a store or of a file, and a program to judge
    one.py         one program: a table of its tests, and why the first of them failed (differ.py)
    stored.py      every stored program, with what its source says of it
    confusion.py   what they were said to be against what they were judged to be

Programs are judged as in training: by the environment, with the problem's own limits. Unlike there, all of a test is
shown, private or not, since the one who looks has the problem."""
