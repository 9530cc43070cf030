# folder of a test | hard links, links in a circle and names of 255 bytes | /tmp is empty in the next test
#: tests=[("0", "held"), ("1", "held")], cpu_s=3
import os
left = [name for name in os.listdir("/tmp") if name != "solution.py"]
with open("/tmp/file", "w") as file:
    file.write("left")
for n in range(500):
    os.link("/tmp/file", f"/tmp/{n:0255d}")
    os.symlink(f"/tmp/{(n + 1) % 500}", f"/tmp/{n}")
print("held" if not left else left)
