# folder of a test | the numbers of files in /tmp, which count on from test to test | the next test cannot tell how many there were
#: tests=[("1000", "held"), ("0", "held")]
import os
def number():
    with open("/tmp/new", "w") as file:
        return os.fstat(file.fileno()).st_ino
first = number()
for _ in range(int(input())):
    os.unlink("/tmp/new")
    number()
print("held" if first < 1000 else f"about {first} files were made before")
