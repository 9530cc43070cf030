# the runner | /tmp, filled again by many processes while it is emptied | the next test has room and sees none of it
#: tests=[("0", "held"), ("1", "held"), ("2", "held")], cpu_s=4
import os
room = os.statvfs("/tmp")
left = [name for name in os.listdir("/tmp") if name != "solution.py"]
with open("/tmp/large", "wb") as file:
    file.write(bytes(12 << 20))
for _ in range(12):
    if os.fork() == 0:
        os.setsid()
        n = 0
        while True:
            n += 1
            try:
                os.makedirs(f"/tmp/{os.getpid()}-{n}/a")
            except OSError:
                pass
print("held" if not left and room.f_bfree > 15_000 and room.f_ffree > 4000 else (left[:3], room), flush=True)
os._exit(0)
