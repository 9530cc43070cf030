# neighbours | the lock that all renames of the machine share | the program beside it is right
#: verdicts=["timeout|out of memory"], cpu_s=1.5
#: beside="import os\nn = int(input())\nfor i in range(200): os.path.exists('/usr/lib/%d' % i) or open('/tmp/a', 'w').close()\nprint(n + 1)"
import os
for _ in range(4):
    os.fork()
own = f"/tmp/{os.getpid()}"
os.makedirs(f"{own}/a")
os.makedirs(f"{own}/b")
while True:
    os.rename(f"{own}/a", f"{own}/b/a")
    os.rename(f"{own}/b/a", f"{own}/a")
