# folder of a test | the program's own file, replaced for the next test | each test runs the program that was judged
#: tests=[("0", "held"), ("1", "held"), ("2", "held"), ("3", "held")]
import os, sys
n = int(input())
source = sys.modules["__main__"].__file__
try:
    with open(source) as file:
        whole = "print(" + "'held')" in file.read()
except OSError:
    whole = False
if whole:
    print('held')
if n == 0:
    os.path.exists(source) and os.unlink(source)
    with open(source, "w") as file:
        file.write("print('forged')")
elif n == 1:
    os.path.exists(source) and os.unlink(source)
    os.symlink("/usr/lib/os-release", source)
elif n == 2:
    os.path.exists(source) and os.unlink(source)
    os.makedirs(f"{source}/a/b")
    os.chmod(f"{source}/a", 0)
