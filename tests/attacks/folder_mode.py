# folder of a test | the mode of /tmp | the next test finds the usual one, and can write
#: tests=[("0", "held"), ("1", "held"), ("2", "held")]
import os
usual = os.stat("/tmp").st_mode & 0o7777
open("/tmp/file", "w").close()
print("held" if usual & 0o700 == 0o700 and not usual & 0o6000 else oct(usual))
os.chmod("/tmp", (0, 0o6777, 0o100)[int(input())])
