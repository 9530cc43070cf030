# streams of a test | the places of the streams, moved for the next test | the next test begins at the start of each
#: tests=[("0000", "held"), ("1111", "held"), ("2222", "held")]
import os
places = [os.lseek(fd, 0, os.SEEK_CUR) for fd in range(3)]
sizes = [os.fstat(fd).st_size for fd in range(3)]
print("held" if places == [0, 0, 0] and sizes == [4, 0, 0] else (places, sizes), flush=True)
for fd in (0, 2):
    os.ftruncate(fd, 1000)
    os.lseek(fd, 777, os.SEEK_SET)
