# neighbours | the page cache of the interpreter's files, which every jail uses | the program beside it is right
#: verdicts=["timeout"], cpu_s=1
import glob, os
files = []
for path in glob.glob(os.path.dirname(os.__file__) + "/*.py")[:60] + glob.glob("/usr/lib/*/lib*.so*")[:50]:
    try:
        files.append(os.open(path, os.O_RDONLY))
    except OSError:
        pass
while True:
    for file in files:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
