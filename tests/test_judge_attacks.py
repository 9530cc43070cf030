"""One attack a test. Each says in its name what must hold; the defence is named where it is not obvious.

The programs run in real jails. `judge.output(source)` is what a program printed in a clean run."""

import json
import os
import socket
import threading

import pytest
from judge_helpers import Case, SyncJudge, defence, descendants, sync_judge

from rlef_plugin.judge import Limits, Verdict

pytestmark = pytest.mark.nsjail
SECRET = "EXPECTED-" + "s3cr3t-0utput"  # joined so that the whole string is in no source that a jail could receive


@pytest.fixture(scope="module")
def judge():
    os.environ["RLEF_TEST_SECRET"] = SECRET
    with sync_judge(workers=2) as judge:
        yield judge


@pytest.fixture(scope="module")
def uncharged():
    """A judge whose jails have no cgroups."""
    with sync_judge(workers=2, cgroup="none") as judge:
        yield judge


# ---- what a program can see ----


@defence(
    ("rlef_plugin/judge/jail.py", 'LIBRARY_FOLDERS = ("/usr/lib",', 'LIBRARY_FOLDERS = ("/etc", "/usr/lib",'),
)
def test_files_of_the_host_are_not_there(judge: SyncJudge) -> None:
    seen = json.loads(judge.output("import os, json; print(json.dumps(sorted(os.listdir('/'))))"))
    assert set(seen) <= {"dev", "lib", "lib64", "opt", "tmp", "usr"}
    source = f"""
import os
print([p for p in ["/etc/passwd", "/root", "/home", "/proc", "/sys", "/srv", "/var", {__file__!r},
                   "/dev/mem", "/run", "/opt/python/../../root"] if os.path.exists(p)])"""
    assert judge.output(source) == "[]\n"


@defence(
    (
        "rlef_plugin/judge/jail.py",
        'PACKAGE_FOLDERS = ("lib/python3*/site-packages", "lib/python3*/dist-packages")',
        "PACKAGE_FOLDERS = ()",
    ),
)
def test_packages_installed_beside_the_interpreter_are_hidden(judge: SyncJudge) -> None:
    """This plugin may be one of them, with its example problems and their tests (`_empty_folder` in jail.py)."""
    source = """
import glob
patterns = ("/opt/python/lib/python3*/*-packages/*", "/usr/lib/python3*/*-packages/*")
print([path for pattern in patterns for path in glob.glob(pattern)])"""
    assert judge.output(source) == "[]\n"


@defence(
    (
        "rlef_plugin/judge/jail.py",
        'MountPt(dst=path, fstype="tmpfs", options="size=4096,nr_inodes=2", nosuid=True, nodev=True)',
        'MountPt(dst=path, fstype="tmpfs", options="mode=777", rw=True)',
    ),
)
def test_nothing_but_tmp_is_writable(judge: SyncJudge) -> None:
    source = """
import glob, os
written = set()
folders = [path for depth in range(6) for path in glob.glob("/*" * depth or "/")]
for folder in filter(os.path.isdir, folders):
    path = folder + "/attack"
    try:
        open(path, "w").close()
        written.add(os.path.realpath(path))
    except OSError as error:
        assert error.errno in (1, 13, 30), (path, error)
print(*sorted(written))  # /dev/shm is /tmp
"""
    assert judge.output(source) == "/tmp/attack\n"


@defence(
    (
        "rlef_plugin/judge/jail.py",
        "return JailCommand(argv, render_config(charged, host_name), {}, jailed=True)",
        "return JailCommand(argv, render_config(charged, host_name), dict(os.environ), jailed=True)",
    ),
    ("rlef_plugin/judge/jail.py", "iface_no_lo=True,", "iface_no_lo=True, keep_env=True,"),
)
def test_environment_and_command_line_hold_nothing_of_the_host(judge: SyncJudge) -> None:
    source = "import os, sys, json; print(json.dumps([dict(os.environ), sys.orig_argv, os.uname().nodename]))"
    environment, argv, node = json.loads(judge.output(source))
    assert set(environment) <= {
        "PYTHONHASHSEED",
        "PATH",
        "HOME",
        "LANG",
        "LD_BIND_NOW",
        "OPENBLAS_NUM_THREADS",
        "MALLOC_ARENA_MAX",
        "LD_LIBRARY_PATH",
        "LC_CTYPE",
    }
    assert SECRET not in json.dumps([environment, argv]) and node == "jail"


@defence(
    ("rlef_plugin/judge/jail.py", "iface_no_lo=True,", "iface_no_lo=True, clone_newpid=False,"),
)
def test_other_processes_cannot_be_seen_or_signalled(judge: SyncJudge) -> None:
    source = f"""
import os
reached = []
for pid in [{os.getpid()}, {os.getppid()}, *range(2, 300)]:
    if pid != os.getpid():
        try:
            os.kill(pid, 0)
            reached.append(pid)
        except ProcessLookupError:
            pass
print(reached, os.getppid())"""
    assert judge.output(source) == "[] 1\n"


@defence(
    ("sandbox/policy.kafel", "cmd == 0 || cmd == 1 ||", "cmd == 1024 || cmd == 1026 || cmd == 0 || cmd == 1 ||"),
)
def test_no_lease_and_no_note_can_be_had_of_a_file(judge: SyncJudge) -> None:
    """A lease on one of the interpreter's files would stop every jail that opens it; here the program's own will do.
    The upper half of a command means nothing to the kernel."""
    source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
open("/tmp/file", "w").close()
file, folder = os.open("/tmp/file", os.O_RDONLY), os.open("/tmp", os.O_RDONLY)
for fd, command, value in (file, 1024, 0), (folder, 1026, 1):
    for upper in 0, 1 << 32:
        print(libc.syscall(*map(ctypes.c_long, (72, fd, command | upper, value))), ctypes.get_errno())"""
    assert judge.output(source) == "-1 1\n" * 4


@defence(
    ("sandbox/policy.kafel", "mq_unlink, flock,", "mq_unlink,"),
    ("sandbox/policy.kafel", "openat, close,", "flock, openat, close,"),
)
def test_no_file_that_jails_share_can_be_locked_for_others(judge: SyncJudge) -> None:
    """Nor any other: the record of a lock is kernel memory that no limit and no memory controller counts."""
    source = """
import fcntl, os
with open(os.__file__) as shared, open("/tmp/own", "w") as own:
    for lock in fcntl.flock, fcntl.lockf:
        try:
            lock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            print(error.errno)
    try:
        fcntl.lockf(own, fcntl.LOCK_EX)
    except OSError as error:
        print(error.errno)"""
    assert judge.output(source) == "1\n1\n1\n"


@defence(
    ("sandbox/runner.py", "_signal.signal(_signal.SIGINT, _signal.SIG_DFL)", "pass"),
)
def test_runner_ignores_every_signal_of_a_program(judge: SyncJudge) -> None:
    source = """
import os
for number in range(1, 65):
    try:
        os.kill(1, number)
    except OSError:
        pass
print(input())"""
    tests = [(f"{i}\n", f"{i}") for i in range(4)]
    assert [test.verdict for test in judge(source, tests).tests] == [Verdict.ACCEPTED] * 4


@defence(
    ("sandbox/policy.kafel", "sched_setaffinity { pid == 0 }", "sched_setaffinity"),
    ("sandbox/policy.kafel", "setpriority { which == 0 && who == 0 }", "setpriority"),
)
def test_priority_and_cores_of_the_runner_cannot_be_changed(judge: SyncJudge) -> None:
    """Nor those of its process group, or of its user."""
    source = """
import os
before = os.sched_getaffinity(1)
for attack in (
    lambda: os.sched_setaffinity(1, {min(before)}),
    lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),
    lambda: os.setpriority(os.PRIO_PGRP, 0, 19),
    lambda: os.setpriority(os.PRIO_USER, 0, 19),
):
    try:
        attack()
        print("changed")
    except OSError:
        pass
os.sched_setaffinity(0, {min(before)})
os.setpriority(os.PRIO_PROCESS, 0, 19)
print(os.sched_getaffinity(1) == before, os.getpriority(os.PRIO_PROCESS, 1) < 19 or before)"""
    assert judge.output(source).startswith("True ")


@defence(
    ("sandbox/streams.py", "            posix.utime(self.folder, (0, 0))\n", ""),
)
def test_times_of_the_scratch_folder_carry_nothing_to_the_next_test(judge: SyncJudge) -> None:
    source = (
        "import os\nprint(os.stat('/tmp').st_mtime, os.stat('/tmp').st_atime)\nos.utime('/tmp', (int(input()), 7))"
    )
    assert [test.stdout for test in judge.run(source, ["7", "0", "7"])] == [b"0.0 0.0\n"] * 3


def test_runner_survives_a_flood_of_its_own_alarm_signal(judge: SyncJudge) -> None:
    """`Watch.ring` in `sandbox/watch.py` neither runs inside itself nor loses its timer."""
    source = """
import os, signal, time
while time.process_time() < 0.4:
    os.kill(1, signal.SIGALRM)
print(input())"""
    result = judge(source, [("1", "1"), ("2", "2")], Limits(cpu_s=2))
    assert result.accepted, result


# ---- the network ----


@defence(
    ("sandbox/policy.kafel", "ERRNO(1) {", "ALLOW {"),
)
@pytest.mark.parametrize(
    "make",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_INET6)",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.create_connection(('127.0.0.1', 80), 1)",
        "socket.getaddrinfo('localhost', 80)",
    ],
)
def test_no_socket_can_be_made(judge: SyncJudge, make: str) -> None:
    source = f"import socket\ntry:\n    {make}\n    print('made')\nexcept OSError as error:\n    print('refused')"
    assert judge.output(source) == "refused\n"


@defence(
    ("sandbox/policy.kafel", "ERRNO(1) {", "ALLOW {"),
)
def test_a_listening_host_is_not_reached_by_raw_system_calls(judge: SyncJudge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(41, 2, 1, 0)
address = b"\\2\\0" + ({port}).to_bytes(2, "big") + b"\\x7f\\0\\0\\1" + bytes(8)
print(fd, ctypes.get_errno(), libc.connect(fd, address, 16))"""
        assert judge.output(source) == "-1 1 -1\n"


# ---- system calls ----

REFUSED = {
    "ptrace": 101, "process_vm_readv": 310, "mount": 165, "umount2": 166, "unshare": 272, "setns": 308,
    "pivot_root": 155, "chroot": 161, "keyctl": 250, "add_key": 248, "bpf": 321, "io_uring_setup": 425,
    "userfaultfd": 323,
    "perf_event_open": 298, "memfd_create": 319, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
    "init_module": 175, "kexec_load": 246, "pidfd_open": 434, "pidfd_getfd": 438, "fsopen": 430, "open_tree": 428,
    "setuid": 105,
    "personality": 135, "mknod": 133, "splice": 275, "socket": 41, "open_by_handle_at": 304,
}  # fmt: skip


@defence(
    ("sandbox/policy.kafel", "ERRNO(1) {", "ALLOW {"),
)
def test_dangerous_system_calls_are_refused(judge: SyncJudge) -> None:
    """The defence is `sandbox/policy.kafel`."""
    source = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {REFUSED}.items():
    ctypes.set_errno(0)
    result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
    if (result, ctypes.get_errno()) != (-1, 1):
        print(name, result, ctypes.get_errno())
for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
    if libc.syscall(56, flag | 17, 0, 0, 0, 0) != -1:
        print("clone", hex(flag))
print(libc.syscall(435, 0, 0), ctypes.get_errno(), libc.prlimit(1, 7, b"\\1" + bytes(15), 0))"""
    assert judge.output(source) == "-1 38 -1\n"


# ---- the runner ----


@defence(
    ("sandbox/runner.py", "posix.closerange(CONTROL_FD, streams[-1] + 1)", "pass"),
)
def test_control_socket_is_closed_in_a_program(judge: SyncJudge) -> None:
    """The defence is `posix.close(CONTROL_FD)` in `sandbox/program.py`."""
    source = """
import os
opened = []
for fd in range(1024):
    try:
        os.fstat(fd)
        opened.append(fd)
    except OSError:
        pass
print(opened)"""
    assert judge.output(source) == "[0, 1, 2]\n"


@defence(
    ("sandbox/runner.py", "posix.closerange(CONTROL_FD, streams[-1] + 1)", "pass"),
)
def test_results_forged_on_every_descriptor_change_nothing(judge: SyncJudge) -> None:
    forged = "b'T' + bytes(72)"
    source = f"""
import os
for fd in range(3, 64):
    try:
        os.write(fd, {forged} * 9)
    except OSError:
        pass
print("wrong")"""
    assert judge(source, [("", "right"), ("", "wrong"), ("", "right")]).tests[0].verdict is Verdict.WRONG_OUTPUT
    labels = [test.verdict.label for test in judge(source, [("", "right"), ("", "wrong")]).tests]
    assert labels == ["wrong output", "accepted"]


@defence(
    ("sandbox/runner.py", "child = fork()", "child = 0"),
)
def test_changing_the_interpreter_reaches_neither_the_runner_nor_the_next_test(judge: SyncJudge) -> None:
    source = """
import builtins, gc, sys, os
n = int(input())
if n == 0:
    frame = sys._getframe()
    while frame:
        frame.f_globals.clear() if frame.f_globals is not globals() else None
        frame = frame.f_back
    import ctypes
    for thing in gc.get_objects():
        if isinstance(thing, dict) and thing is not globals():
            try: thing.clear()
            except Exception: pass
    ctypes.memset(id(0), 0, 8)
    os._exit(0)
assert builtins.print is print and sys.modules["sys"] is sys
print(n)"""
    labels = [test.verdict.label for test in judge(source, [("0", "0"), ("1", "1"), ("2", "2")]).tests]
    assert labels[1:] == ["accepted", "accepted"] and labels[0] != "accepted"


@defence(
    (
        "rlef_plugin/judge/judging.py",
        '"source": job.source,',
        '"source": job.source, "later": [data.decode() for data in inputs],',
    ),
)
def test_later_inputs_are_not_in_memory_or_files(judge: SyncJudge) -> None:
    source = """
import gc, sys
mine = input()
found = [o for o in gc.get_objects() if "later-" + "input" in repr(o)[:100000]]
frame = sys._getframe().f_back
while frame:
    found += [k for k, v in {**frame.f_globals, **frame.f_locals}.items() if ("later-" + "input") in repr(v)[:100000]]
    frame = frame.f_back
print(mine, found)"""
    result = judge(source, [("first\n", "first []"), ("later-input\n", "x")])
    assert result.tests[0].verdict is Verdict.ACCEPTED, result.tests[0].stdout


# ---- its own streams, and its jail's neighbours ----


@defence(
    (
        "rlef_plugin/judge/jail.py",
        'MountPt(dst=box["SCRATCH"], fstype="tmpfs", options=options, rw=True, nosuid=True, nodev=True)',
        '(os.makedirs("/var/tmp/rlef-shared", exist_ok=True), os.chmod("/var/tmp/rlef-shared", 0o777), '
        'os.geteuid() or os.chown("/var/tmp/rlef-shared", 65534, 65534), '  # a runner's scratch folder is its own
        'MountPt(src="/var/tmp/rlef-shared", dst="/tmp", is_bind=True, rw=True))[3]',
    ),
)
def test_jails_that_run_at_the_same_time_do_not_see_each_other(judge: SyncJudge) -> None:
    source = """
import os, time
mine = input()
open("/tmp/" + mine, "w").close()
seen = set()
end = time.monotonic() + 2
while time.monotonic() < end:
    time.sleep(0.01)
    seen |= set(os.listdir("/tmp"))
    for pid in range(2, 100):
        try:
            pid == os.getpid() or os.kill(pid, 0) or seen.add(pid)
        except ProcessLookupError:
            pass
print(seen == {mine, "solution.py"} or seen)"""
    both = [judge.judge.judge(source, [Case(name, "True")], Limits(cpu_s=5)) for name in ("a", "b")]
    for result in judge.together(both):
        assert result.accepted, result


@defence(("sandbox/runner.py", "posix.dup2(streams[0], 0)", "pass"))
def test_standard_input_written_over_by_a_program_is_whole_in_the_next_test(judge: SyncJudge) -> None:
    source = """
import fcntl, os
text = input()
os.pwrite(0, b"x" * 5000, 0)
os.lseek(0, 1234, 0)
fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)
rest = open(0).read()
print(text)"""
    tests = [("first line", "first line"), ("2", "2"), ("a\n", "a")]
    assert judge(source, tests).accepted
    check = "import os\nprint(os.pread(0, 9999, 0))\nos.pwrite(0, b'x' * 99, 0)"
    assert judge(check, [("123456", "b'123456'"), ("1", "b'1'")]).accepted


@defence(("sandbox/runner.py", "posix.dup2(streams[0], 0)", "pass"))
def test_output_and_error_of_a_test_are_not_in_the_next(judge: SyncJudge) -> None:
    source = "import sys\nprint(input())\nprint('said by', input(), file=sys.stderr)"
    long, short = judge.run(source, ["111111111\n1", "2\n2"])
    assert (long.stdout, short.stdout, short.error) == (b"111111111\n", b"2\n", "said by 2\n")


@pytest.mark.parametrize(
    "attack",
    [
        "os.close(0), os.close(1), os.close(2)",
        "os.dup2(os.open('/tmp/x', os.O_RDWR | os.O_CREAT), 1), os.write(1, b'lost')",
        "os.dup2(0, 1), os.write(1, b'into the input')",
        "os.dup2(os.pipe()[1], 1), os.write(1, b'lost')",
        "[f.close() for f in (sys.stdin, sys.stdout, sys.stderr)]",
        "[setattr(sys, name, None) for name in ('stdin', 'stdout', 'stderr', '__stdout__', '__stderr__')]",
        "os.lseek(1, 1 << 20, 0)",
        "os.fchmod(0, 0), os.fchmod(1, 0), fcntl.fcntl(1, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK)",
        "[os.ftruncate(fd, 0) for fd in (0, 1, 2)]",
    ],
)
def test_streams_closed_or_replaced_spoil_only_their_own_test(judge: SyncJudge, attack: str) -> None:
    """The runner's own descriptors are untouched, as a program's are copies: `child = fork()` in
    sandbox/runner.py, for which another test stands."""
    source = f"import fcntl, os, sys\nn = input()\nif n == '0':\n    {attack}\nelse:\n    print(n)"
    first, *others = judge(source, [("0", "0"), ("1", "1"), ("2", "2")]).tests
    assert first.verdict is not Verdict.ACCEPTED
    assert [test.verdict.label for test in others] == ["accepted"] * 2


def test_streams_cannot_be_sealed(judge: SyncJudge) -> None:
    """Each test has its own, and yet: what cannot be sealed needs no thought about what a seal would do."""
    source = """
import fcntl
sealed = 0
for fd in (0, 1, 2):
    for seal in (fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SEAL, 0x10, 0x20):
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seal)
            sealed += 1
        except OSError:
            pass
print(sealed)"""
    (test,) = judge.run(source)
    assert test.stdout == b"0\n", test


@defence(
    (
        "sandbox/streams.py",
        "posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK",
        "posix.O_RDONLY",
    ),
)
@pytest.mark.parametrize(
    "make",
    [
        "os.symlink('/usr/lib/os-release', 'out')",
        "os.symlink('/dev/urandom', 'out')",
        "os.symlink('out', 'out')",
        "os.mkdir('out')",
    ],
)
def test_an_output_file_that_is_no_plain_file_is_empty(judge: SyncJudge, make: str) -> None:
    result = judge(f"import os\n{make}", [("", "")], Limits(cpu_s=0.1), input_file="in", output_file="out")
    (test,) = result.tests
    assert (test.stdout, test.verdict.label) == (b"", "accepted")


@pytest.mark.parametrize(
    "path", ["/proc/1/environ", "/proc/self/fd/3", "/proc/1/root/etc/passwd", "/sys/kernel", "/dev/fd/3", "/dev/mem"]
)
def test_links_lead_nowhere_outside(judge: SyncJudge, path: str) -> None:
    """Defence: no /proc or /sys in a jail (`mount=[*mounts, *_system_mounts()]` in rlef_plugin/judge/jail.py)."""
    source = f"""
import os
os.symlink({path!r}, "link")
os.symlink("../../../../../../../etc/passwd", "up")
for name in ("link", "up", {path!r}):
    try:
        print(os.open(name, os.O_RDONLY))
    except OSError as error:
        print(type(error).__name__)"""
    assert judge.output(source) == "FileNotFoundError\n" * 3


def test_a_crash_of_the_interpreter_is_an_exception_and_leaves_no_core(judge: SyncJudge) -> None:
    source = """
import resource, sys
n = int(input())
if n == 0:
    __import__("ctypes").string_at(1)
if n == 1:
    sys.setrecursionlimit(10**9)
    class A:
        def __getattr__(self, name): return getattr(self, name + "x")
    f = lambda x: [f(x) for _ in range(2)]
    import re, functools
    a = []
    for _ in range(10**6): a = [a]
    repr(a)
if n == 2:
    import os; os.abort()
print(resource.getrlimit(resource.RLIMIT_CORE), n)"""
    tests = judge(source, [(str(n), f"(0, 0) {n}") for n in (0, 1, 2, 3)], Limits(cpu_s=5)).tests
    assert [test.verdict.label for test in tests] == ["exception"] * 3 + ["accepted"], tests


@pytest.mark.parametrize("ending", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.abort()", "sys.exit(0)", "pass"])
@pytest.mark.parametrize("keeper", ["thread", "atexit", "fork"])
def test_what_runs_at_or_after_exit_ends_with_its_test(judge: SyncJudge, ending: str, keeper: str) -> None:
    """Threads and exit functions that never end meet the clock; forked ones are killed."""
    keep = {
        "thread": "threading.Thread(target=loop).start()",
        "atexit": "atexit.register(loop)",
        "fork": "os.fork() or loop()",
    }
    source = f"""
import atexit, os, sys, threading
def loop():
    while True: pass
n = input()
if n == "0":
    {keep[keeper]}
    {ending}
print(n)"""
    limits = Limits(cpu_s=0.1)
    first, second = judge(source, [("0", "0"), ("1", "1")], limits).tests
    assert second.verdict is Verdict.ACCEPTED
    assert first.wall_s < limits.wall_s


# ---- what outlives a test ----


@defence(
    ("sandbox/watch.py", "posix.kill(-1, _signal.SIGKILL) if jailed else None", "break"),
)
def test_children_that_outlive_a_test_are_killed(judge: SyncJudge) -> None:
    """The defence is `sweep` in `sandbox/watch.py`. Sleeping, spinning, and detached by setsid and a double fork."""
    source = """
import os, time
n = int(input())
alive = 0
for pid in range(2, 200):
    try:
        os.kill(pid, 0)
        alive += pid != os.getpid()
    except OSError:
        pass
for spin in (False, True):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                spin or time.sleep(100)
        os._exit(0)
print(n, alive)"""
    result = judge(source, [(f"{i}", f"{i} 0") for i in range(5)], Limits(cpu_s=2))
    assert result.accepted, result
    assert result.tests[0].wall_s < 2


@defence(
    ("sandbox/runner.py", "spent = not scratch.as_it_was() and not scratch.restore()", "spent = False"),
)
def test_files_do_not_outlive_a_test(judge: SyncJudge) -> None:
    source = """
import os
n = input()
assert os.listdir("/tmp") == ["solution.py"], os.listdir("/tmp")
os.makedirs("/tmp/a/b")
os.symlink("/usr", "/tmp/a/link")
open("/tmp/a/b/c", "w").write(n)
os.chmod("/tmp/a/b", 0)
print(n)"""
    assert judge(source, [(f"{i}", f"{i}") for i in range(4)]).accepted


@defence(
    (
        "sandbox/runner.py",
        "fields[4] = SPENT * spent | STOPPED * watch.stopped",
        "fields[4], spent = STOPPED * watch.stopped, False",
    ),
)
def test_files_that_cannot_be_removed_cost_a_jail_and_nothing_else(judge: SyncJudge) -> None:
    source = """
import os
n = input()
assert os.listdir("/tmp") == ["solution.py"]
for _ in range(1500):
    os.mkdir("d"); os.chdir("d")
print(n)"""
    assert judge(source, [(f"{i}", f"{i}") for i in range(3)]).accepted


# ---- taking too much ----


@defence(
    (
        "sandbox/watch.py",
        "used = sum(map(cpu_seconds, range(self.child, self.child + self.reach[far])))",
        "used = cpu_seconds(self.child)",
    ),
    ("rlef_plugin/judge/process.py", "elif self.cpu_s > limits.cpu_s + CPU_SLACK_S:", "elif False:"),
)
def test_fork_bomb_ends_and_the_judge_goes_on(judge: SyncJudge) -> None:
    source = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    (bomb,) = judge.run(source, limits=Limits(cpu_s=0.5))
    assert bomb.verdict is Verdict.TIMEOUT and bomb.wall_s < 9  # of 10 allowed
    assert judge("print(1)", [("", "1")]).accepted


@defence(
    ("sandbox/config.py", "MAX_PROCESSES = 48", "MAX_PROCESSES = 96"),
)
def test_processes_and_threads_are_bounded(uncharged: SyncJudge) -> None:
    source = """
import os
made = 0
try:
    while True:
        if os.fork() == 0:
            os.read(os.pipe()[0], 1)
        made += 1
except OSError:
    print(made)"""
    assert 20 <= int(uncharged.output(source)) < 48


@defence(
    ("rlef_plugin/judge/process.py", "if use.memory_bytes > self.most_bytes:", "if False:"),
)
def test_memory_bomb_over_many_processes_is_out_of_memory(judge: SyncJudge) -> None:
    """Each process stays below the limit, all together do not. The watch adds it up."""
    source = """
import os, time
for _ in range(12):
    if os.fork() == 0:
        x = b"x" * (90 << 20)
        time.sleep(60)
time.sleep(60)"""
    (test,) = judge.run(source, limits=Limits(cpu_s=3, memory_mb=128))
    assert test.verdict is Verdict.OUT_OF_MEMORY and test.wall_s < 10


@defence(
    ("sandbox/config.py", "SCRATCH_BYTES = 64 * 2**20", "SCRATCH_BYTES = 80 * 2**20"),
)
def test_tmp_is_bounded(judge: SyncJudge) -> None:
    source = """
import errno
written = 0
try:
    while True:
        with open(f"/tmp/{written}", "wb") as f:
            f.write(b"x" * (1 << 20))
        written += 1
except OSError as error:
    print(written, error.errno == errno.ENOSPC)"""
    assert judge.output(source) == "63 True\n" or judge.output(source) == "64 True\n"


@defence(
    ("sandbox/config.py", "MAX_OPEN_FILES = 128", "MAX_OPEN_FILES = 256"),
)
def test_descriptors_are_bounded(judge: SyncJudge) -> None:
    source = "import os\ntry:\n    while True: n = os.dup(0)\nexcept OSError:\n    print(n)"
    assert judge.output(source) == "127\n"


@defence(
    (
        "sandbox/runner.py",
        'resource.setrlimit(resource.RLIMIT_AS, (task["address_space"],) * 2)',
        'resource.setrlimit(resource.RLIMIT_AS, (task["address_space"], -1))',
    ),
)
def test_limits_cannot_be_raised(uncharged: SyncJudge) -> None:
    source = """
import resource as r
for name in "AS CPU FSIZE NPROC NOFILE CORE MEMLOCK SIGPENDING".split():
    kind = getattr(r, "RLIMIT_" + name)
    try:
        r.setrlimit(kind, (r.RLIM_INFINITY, r.RLIM_INFINITY))
        print(kind)
    except ValueError:
        pass
print("done")"""
    assert uncharged.output(source) == "done\n"


@defence(
    ("rlef_plugin/judge/process.py", "elif wall_s - use.delay_s > limits.wall_s:", "elif False:"),
)
def test_sleeping_ends_at_the_wall_limit(judge: SyncJudge) -> None:
    (test,) = judge.run("import time\ntime.sleep(1000)", limits=Limits(cpu_s=0.01))
    assert test.verdict is Verdict.TIMEOUT and 5.1 <= test.wall_s < 6 and test.cpu_s < 0.1


def test_source_that_keeps_the_compiler_busy_does_not_stop_the_judge(judge: SyncJudge) -> None:
    result = judge("x = " + "-" * 100_000 + "1", [("", "")])
    assert result.verdict is Verdict.INVALID_CODE
    assert judge("print(1)", [("", "1")]).accepted


@pytest.mark.parametrize("output", [b"\xff\xfe\x00 1", b"1\x00", b"\xed\xa0\x80", b"1"])
def test_output_of_any_bytes_is_data(judge: SyncJudge, output: bytes) -> None:
    (test,) = judge.run(f"import os\nos.write(1, {output!r})")
    assert test.verdict is Verdict.ACCEPTED and test.stdout == output


@defence(
    (
        "rlef_plugin/judge/compare.py",
        "return (_sign(x) == _sign(y) or not ours) and (yield from _same(ours, theirs))",
        "return int(a.first(len(a))) == int(b.first(len(b)))",
    ),
)
def test_a_ten_million_digit_integer_is_compared_quickly(judge: SyncJudge) -> None:
    result = judge("print('0' + '7' * 10**7)", [("", "7" * 10**7), ("", "7" * 10**7 + "1")])
    assert [test.verdict.label for test in result.tests] == ["accepted", "wrong output"]


def test_no_process_is_left_after_all_this() -> None:
    before = set(descendants())
    with sync_judge(workers=2) as judge:
        judge("import os\nwhile True: os.fork()", [("", "")], Limits(cpu_s=0.1))
        threads = threading.active_count()
        assert set(descendants()) - before
    assert set(descendants()) - before == set() and threads < 20
