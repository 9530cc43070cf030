# shared memory | files of /tmp that only a process of an earlier test has open | the next test has all of /tmp
#: tests=[("0", "held"), ("1", "held")]
import os, time
if input() == "0":
    files = []
    for n in range(5):
        files.append(os.open(f"/tmp/{n}", os.O_RDWR | os.O_CREAT))
        os.unlink(f"/tmp/{n}")
        os.write(files[-1], bytes(11 << 20))
    if os.fork() == 0:
        os.setsid()
        os.fork() and os._exit(0)
        time.sleep(60)
else:
    for n in range(5):
        with open(f"/tmp/{n}", "wb") as file:
            file.write(bytes(11 << 20))
print("held")
