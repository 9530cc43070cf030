"""The shape of a jail as data: what a judged program may see and how much it may take, whatever its own limits are.

The judge turns this into an nsjail configuration (`rlef_plugin/judge/jail.py`). Limits that belong to one program
(CPU, memory, output) are not here: jails are started before their program is known, so `runner.py` sets those.

Not promised: a bound on the memory of all processes of a jail together. Each process has its own limit, and there can
be `MAX_PROCESSES` of them; only a memory cgroup bounds the sum."""

HOSTNAME = "jail"
SCRATCH = "/tmp"  # the only writable place: private to a jail, a tmpfs, emptied between two tests
SCRATCH_BYTES = 64 * 2**20
SCRATCH_FILES = 4096
# What programs may import, if the judge's own interpreter has it, and nothing else. The standard library's `zoneinfo`
# reads `tzdata` where the machine has no time zones of its own.
PACKAGES = ("numpy", "tzdata")
PACKAGES_ROOT = "/opt/packages"
PYTHON_ROOT = "/opt/python"  # where an interpreter that lives outside /usr appears in the jail

INSIDE_ID = 1000  # user and group id the program sees
NOBODY = 65534  # what it is outside when the judge runs as root: root itself is exempt from RLIMIT_NPROC

MAX_PROCESSES = 48  # processes and threads together, the runner included
MAX_OPEN_FILES = 128
LEAST_OPEN_FILES = 64  # where the caller's own limit is lower
MAX_FILE_MB = 1024  # of the runner, which writes a test's input; a program's own is a byte above its output limit

# A fixed hash seed makes a program that prints a set behave the same every time. Binding symbols at once saves each
# forked child from doing it again (14 of 66 page faults).
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PATH": "/usr/bin:/bin",
    "HOME": SCRATCH,
    "LANG": "C.UTF-8",
    "LD_BIND_NOW": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
# Where the address space is limited: a malloc arena a thread would reserve 64 MiB each, and six threads would fill it.
UNCHARGED_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
PYTHON_FLAGS = ("-S", "-s", "-P", "-X", "utf8")

CONTROL_FD = 3  # the runner's socket to the judge; closed in every program
ADDRESS_SPACE_SLACK = 512 * 2**20  # virtual memory a program may reserve beyond what it may use (thread stacks)

# What `python -c` executes as process 1: it receives the runner's modules, compiled, from the judge, so that nothing
# of the judge needs to be a file in the jail and nothing but the program is compiled there. The modules have builtins
# of their own, as a program may change the others. Tests run once this has ended, with no frame above (`set_stage`).
RUNNER_MODULES = ("streams", "watch", "program", "runner")
BOOT = f"""
import builtins, marshal, posix, sys
own = vars(builtins).copy()
for name, code in marshal.loads(posix.read({CONTROL_FD}, 1 << 20) or posix._exit(0)):
    module = sys.modules[name] = type(sys)(name)
    module.__builtins__ = own
    exec(code, module.__dict__)
module.main(sys._getframe().f_code)
"""
