# folder of a test | a path longer than any system call takes, of folders that nobody may enter | the next test starts clean
#: tests=[("0", "held"), ("1", "held")]
import os
left = [name for name in os.listdir("/tmp") if name != "solution.py"]
if input() == "0":
    parents = []
    for n in range(60):
        os.mkdir("d" * 250)
        parents.append(os.open(".", os.O_RDONLY))
        os.chdir("d" * 250)
    for parent in reversed(parents):
        os.chmod("d" * 250, 0, dir_fd=parent)
print("held" if not left else left)
