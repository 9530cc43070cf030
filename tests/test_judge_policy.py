"""The list of system calls, held against a second copy of it, and what a program in a real jail reaches of the kernel.

Calls that would endanger the machine are made with arguments that the kernel itself would refuse in another way, so
that a policy with a hole shows as another error and does no harm."""

import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest
from judge_helpers import ROOT, SyncJudge, defence, sync_judge

from rlef_plugin.judge import Limits, Verdict, pool
from rlef_plugin.judge.jail import jail_command, render_policy
from rlef_plugin.judge.verdicts import SandboxError

POLICY = ROOT / "sandbox" / "policy.kafel"
# Every call that Python programs may make on x86-64, those with a condition below.
CALLS = """
    access alarm brk chdir chmod clock_getres clock_gettime clock_nanosleep close close_range copy_file_range dup dup2
    dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve exit exit_group faccessat faccessat2 fallocate
    fchdir fchmod fchmodat fork fstatfs ftruncate getcwd getdents64 getegid geteuid getgid getgroups getitimer
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrusage getsid getsockname
    gettid gettimeofday getuid kill link linkat lseek mkdir mkdirat mprotect mremap munmap nanosleep newfstat
    newfstatat newlstat newstat newuname open openat pause pipe poll ppoll pread64 preadv preadv2 pselect6 pwrite64
    pwritev pwritev2 read readlink readlinkat readv recvfrom recvmsg rename renameat restart_syscall rmdir rseq
    rt_sigpending rt_sigprocmask rt_sigreturn rt_sigtimedwait sched_getaffinity sched_yield select sendfile64 sendto
    set_robust_list set_tid_address setitimer setpgid setsid shutdown sigaltstack statfs statx symlink symlinkat
    sysinfo tgkill time timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask unlink unlinkat
    utimensat vfork wait4 waitid write writev
"""
CONDITIONS = {
    "arch_prctl": "code == 0x1002",
    "clone": "(clone_flags & 0xfffffffffe82b0ee) == 0",
    "fcntl": "cmd == 0 || cmd == 1 || cmd == 2 || cmd == 3 || (cmd == 4 && (arg & 0x2000) == 0) || cmd == 1030 "
    "|| cmd == 1032",
    "futex": "(op & 0xfffffe7f) <= 5 || (op & 0xfffffe7f) == 9 || (op & 0xfffffe7f) == 10",
    "getsockopt": "level == 1 && (optname == 3 || optname == 4 || optname == 7 || optname == 8 || optname == 38 "
    "|| optname == 39)",
    "ioctl": "cmd == 0x5401 || cmd == 0x5413 || cmd == 0x541b || cmd == 0x5421 || cmd == 0x5450 || cmd == 0x5451 "
    "|| cmd == 0x802c542a",
    "madvise": "behavior <= 4 || behavior == 8 || behavior == 10 || behavior == 11 || (behavior >= 14 "
    "&& behavior <= 19) || behavior == 22 || behavior == 23",
    "mmap": "(flags & 0x40000) == 0",
    "pipe2": "(flags & 0xfff7f7ff) == 0",
    "prctl": "option == 15 || option == 16 || option == 0x53564d41",
    "prlimit64": "pid == 0",
    "rt_sigaction": "sig != 17 || act == 0",
    "sched_setaffinity": "pid == 0",
    "setpriority": "which == 0 && who == 0",
    "socketpair": "family == 1",
}
ONLY_X86 = """
    access alarm arch_prctl chmod dup2 epoll_wait fork getpgrp link mkdir newlstat newstat open pause pipe poll
    readlink rename rmdir select sendfile64 symlink time unlink vfork
"""
RULE = re.compile(r"(\w+)(?: \{ ([^}]*) \})?(?:, | \})")


def allowed(policy: str) -> dict[str, str]:
    """The condition of each call that the policy for Python allows, as it was rendered."""
    block = policy.partition("POLICY python {\nALLOW {")[2].partition("ERRNO(0)")[0]
    return dict(RULE.findall(" ".join(block.split())))


@pytest.fixture(scope="module")
def judge() -> Iterator[SyncJudge]:
    """One whose jails no memory controller charges, on every machine."""
    with sync_judge(workers=1, cgroup="none") as judge:
        yield judge


@pytest.fixture(scope="module")
def charged() -> Iterator[SyncJudge]:
    """One whose jails have the policy of jails that are charged, on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "jail_command", lambda nsjail, unsafe, _, *more: jail_command(nsjail, unsafe, True, *more))
        with sync_judge(workers=1, cgroup="none") as judge:
            yield judge


# ---- the file ----


def test_every_allowed_call_and_its_condition_are_also_written_here() -> None:
    assert allowed(render_policy(True, "x86_64")) == dict.fromkeys(CALLS.split(), "") | CONDITIONS


def test_every_group_of_calls_is_given_a_reason() -> None:
    block = POLICY.read_text().partition("POLICY python {\n  ALLOW {\n")[2].partition("\n  },")[0]
    groups = block.split("\n\n")
    assert len(groups) > 20
    assert [group for group in groups if not re.match(r"    // [A-Z]", group)] == []


def test_on_aarch64_the_policy_lacks_just_the_calls_that_it_has_under_newer_names() -> None:
    here, there = (allowed(render_policy(True, machine)) for machine in ("x86_64", "aarch64"))
    assert set(here) - set(there) == set(ONLY_X86.split())
    assert set(there) - set(here) == {"sendfile"} and all(there[name] == here[name] for name in set(there) & set(here))
    for name in "inotify_init iopl ioperm modify_ldt mknod".split():
        assert not re.search(rf"\b{name}\b", render_policy(False, "aarch64"))


def test_another_machine_is_named_and_not_judged_on() -> None:
    with pytest.raises(SandboxError, match="no names for riscv64: judge on a node with x86_64 or aarch64"):
        render_policy(True, "riscv64")


# ---- what is refused ----

NUMBERS = {
    "clone": 56, "arch_prctl": 158, "fcntl": 72, "futex": 202, "getsockopt": 55, "ioctl": 16, "kill": 62,
    "madvise": 28, "mincore": 27, "mmap": 9, "pipe2": 293, "prctl": 157, "prlimit64": 302, "rt_sigqueueinfo": 129,
    "seccomp": 317, "sendmsg": 46, "setsockopt": 54, "socketpair": 53, "timer_create": 222, "fanotify_init": 300,
    "membarrier": 324, "signalfd4": 289,
}  # fmt: skip
UPPER = 1 << 32  # of an argument that the kernel reads as an `int`: it means nothing
# Each: the call, its arguments (bad descriptors and null pointers, so that a kernel that is asked does nothing), and
# the error number that the policy answers with.
REFUSED = {
    "a socket filter (SO_ATTACH_FILTER)": ("setsockopt", (-1, 1, 26, 0, 0), 1),
    "a socket filter from a BPF program (SO_ATTACH_BPF)": ("setsockopt", (-1, 1, 50, 0, 0), 1),
    "a larger send buffer (SO_SNDBUF)": ("setsockopt", (-1, 1, 7, 0, 0), 1),
    "reading a socket filter (SO_GET_FILTER)": ("getsockopt", (-1, 1, 26, 0, 0), 1),
    "a process's descriptor from a socket (SO_PEERPIDFD)": ("getsockopt", (-1, 1, 77, 0, 0), 1),
    "descriptors under way in a socket": ("sendmsg", (-1, 0, 0), 1),
    "a pair of internet sockets": ("socketpair", (2, 1, 0, 0), 1),
    "a pair of TIPC sockets, in the upper half of a register too": ("socketpair", (30 | UPPER, 1, 0, 0), 1),
    "a filter of system calls (PR_SET_SECCOMP)": ("prctl", (22, 2, 0, 0, 0), 1),
    "the same with an upper half": ("prctl", (22 | UPPER, 2, 0, 0, 0), 1),
    "a filter of system calls (seccomp)": ("seccomp", (1, 0, 0), 1),
    "adopting orphans (PR_SET_CHILD_SUBREAPER)": ("prctl", (36, 0, 0, 0, 0), 1),
    "memory layout (PR_SET_MM)": ("prctl", (35, 0, 0, 0, 0), 1),
    "core scheduling (PR_SCHED_CORE)": ("prctl", (62, 9, 0, 0, 0), 1),
    "a lock of a description (F_OFD_SETLK)": ("fcntl", (-1, 37, 0), 1),
    "a lock of a description, waiting (F_OFD_SETLKW)": ("fcntl", (-1, 38, 0), 1),
    "a look at such a lock (F_OFD_GETLK)": ("fcntl", (-1, 36, 0), 1),
    "a lock of a process (F_SETLK)": ("fcntl", (-1, 6, 0), 1),
    "the same with an upper half, waiting (F_SETLKW)": ("fcntl", (-1, 7 | UPPER, 0), 1),
    "a look at such a lock (F_GETLK)": ("fcntl", (-1, 5, 0), 1),
    "an owner for signals (F_SETOWN)": ("fcntl", (-1, 8, 0), 1),
    "a signal for a descriptor (F_SETSIG)": ("fcntl", (-1, 10, 0), 1),
    "signals when a descriptor is ready (O_ASYNC)": ("fcntl", (-1, 4, 0x2000), 1),
    "a lease (F_SETLEASE)": ("fcntl", (-1, 1024, 0), 1),
    "notes (F_NOTIFY)": ("fcntl", (-1, 1026, 0), 1),
    "a larger pipe (F_SETPIPE_SZ)": ("fcntl", (-1, 1031, 1 << 20), 1),
    "a seal (F_ADD_SEALS)": ("fcntl", (-1, 1033, 0), 1),
    "signals when a descriptor is ready (FIOASYNC)": ("ioctl", (-1, 0x5452, 0), 25),
    "a terminal's input (TIOCSTI), with an upper half": ("ioctl", (-1, 0x5412 | UPPER, 0), 25),
    "a queue of notes (IOC_WATCH_QUEUE_SET_SIZE)": ("ioctl", (-1, 0x5760, 0), 25),
    "a pipe for notes (O_NOTIFICATION_PIPE)": ("pipe2", (0, 0x80), 1),
    "huge pages (MAP_HUGETLB)": ("mmap", (0, 0, 0, 0x40022, -1, 0), 12),
    "poisoned memory (MADV_HWPOISON)": ("madvise", (1, 0, 100), 22),
    "merged memory (MADV_MERGEABLE)": ("madvise", (1, 0, 12), 22),
    "a lock that lends priority (FUTEX_LOCK_PI)": ("futex", (1, 6, 0, 0, 0, 0), 38),
    "the same, private, with an upper half": ("futex", (1, 6 | 128 | UPPER, 0, 0, 0, 0), 38),
    "a larger register state (ARCH_REQ_XCOMP_PERM)": ("arch_prctl", (0x1023, 999), 22),
    "a child of the runner (CLONE_PARENT)": ("clone", (0x8000 | 0x10000, 0, 0, 0, 0), 1),
    "a child's descriptor (CLONE_PIDFD)": ("clone", (0x1000 | 0x10000, 0, 0, 0, 0), 1),
    "limits of the runner": ("prlimit64", (1, 7, 0, 0), 1),
    "a queued signal with a value": ("rt_sigqueueinfo", (-1, 99, 0), 1),
    "a timer of the kernel": ("timer_create", (99, 0, 0), 1),
    "interrupts on all cores (membarrier)": ("membarrier", (99, 0, 0), 38),
    "a descriptor of signals": ("signalfd4", (-1, 0, 0, 0), 38),
    "other programs' pages in memory (mincore)": ("mincore", (1, 0, 0), 38),
    "notes of what happens to files": ("fanotify_init", (-1, -1), 1),
}
CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(*map(ctypes.c_long, {call})), ctypes.get_errno())"""


@defence(
    ("sandbox/policy.kafel", "    setsockopt, sendmsg,", "    sendmsg,"),
    ("sandbox/policy.kafel", "    sendto, recvfrom,", "    setsockopt, sendto, recvfrom,"),
)
@pytest.mark.nsjail
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("attack", REFUSED)
def test_calls_are_refused_by_number_and_argument(judge: SyncJudge, attack: str) -> None:
    name, arguments, error = REFUSED[attack]
    assert judge.output(CALL.format(call=(NUMBERS[name], *arguments))) == f"-1 {error}\n"


@pytest.mark.nsjail
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize(
    ("call", "error"),
    [
        ((NUMBERS["kill"] | 0x40000000, 0, 0), 38),  # the x32 table
        ((NUMBERS["fcntl"], -1, 1 | UPPER, 0), 9),  # F_GETFD: the kernel is asked, and knows no such descriptor
        ((203, UPPER, 0, 0), 22),  # sched_setaffinity of process 0, whatever the upper half says
        ((NUMBERS["prlimit64"], UPPER, 999, 0, 0), 22),
    ],
)
def test_halves_of_registers_that_mean_nothing_change_nothing(judge: SyncJudge, call: tuple, error: int) -> None:
    assert judge.output(CALL.format(call=call)) == f"-1 {error}\n"


@defence(("rlef_plugin/judge/jail.py", '"USE uncharged, USE python"', '"USE python"'))
@pytest.mark.nsjail
def test_memory_that_no_limit_sees_is_refused_where_nothing_charges_it(judge: SyncJudge) -> None:
    """Pages of a shared anonymous mapping stay held when `madvise` drops them from the page table."""
    source = """
import mmap
print(len(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE)))
try:
    mmap.mmap(-1, 1 << 20)
except OSError as error:
    print(error.errno)"""
    assert judge.output(source) == "1048576\n12\n"


@pytest.mark.nsjail
def test_shared_memory_can_be_had_where_it_is_charged(charged: SyncJudge) -> None:
    source = """
import mmap, os
shared = mmap.mmap(-1, 4096)
if os.fork() == 0:
    shared[0] = 7
    os._exit(0)
os.wait()
print(shared[0])"""
    assert charged.output(source) == "7\n"


# ---- what ordinary programs do ----

ORDINARY = {
    "threads": """
import queue, threading
done = queue.Queue()
threads = [threading.Thread(target=lambda n=n: done.put(n * n)) for n in range(9)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert sorted(done.get() for _ in range(9)) == [n * n for n in range(9)]""",
    "asyncio": """
import asyncio
async def main():
    await asyncio.sleep(0.001)
    inside = await asyncio.to_thread(lambda: 3)
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, inside)) == [1, 3]
asyncio.run(main())""",
    "concurrent.futures": """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
for kind in ThreadPoolExecutor, ProcessPoolExecutor:
    with kind(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]""",
    "multiprocessing": """
import multiprocessing as mp
with mp.Pool(2) as pool:
    assert pool.map(abs, [-1, 2]) == [1, 2]
queue, value, lock = mp.Queue(), mp.Value("i", 3), mp.Lock()
child = mp.Process(target=queue.put, args=(4,))
child.start()
assert queue.get() == 4
child.join()
with lock:
    value.value += 1
ours, theirs = mp.Pipe()
ours.send("x")
assert theirs.recv() == "x" and value.value == 4 and list(mp.Array("i", 2)) == [0, 0]""",
    "shared_memory": """
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(create=True, size=64)
memory.buf[0] = 7
same = SharedMemory(memory.name)
assert same.buf[0] == 7
same.close()
memory.unlink()""",
    "subprocess": """
import subprocess, sys
done = subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True, text=True)
assert (done.returncode, done.stdout) == (0, "5\\n"), done""",
    "mmap": """
import mmap
with open("f", "w+b") as file:
    file.write(b"abc" * 5000)
    file.flush()
    memory = mmap.mmap(file.fileno(), 0)
    memory[:3] = b"xyz"
    memory.madvise(mmap.MADV_SEQUENTIAL)
    memory.flush()
    memory.resize(4000)
    assert open("f", "rb").read(6) == b"xyzabc" and len(memory) == 4000""",
    "signals": """
import os, signal
seen = []
for number in signal.SIGUSR1, signal.SIGALRM:
    signal.signal(number, lambda number, frame: seen.append(number))
os.kill(os.getpid(), signal.SIGUSR1)
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
os.kill(os.getpid(), signal.SIGRTMIN)
assert signal.sigpending() == {signal.SIGRTMIN} and signal.sigwait([signal.SIGRTMIN]) == signal.SIGRTMIN
assert seen == [signal.SIGUSR1, signal.SIGALRM]""",
    "pipes and selectors": """
import os, select, selectors
reader, writer = os.pipe()
os.set_blocking(reader, False)
poll = select.epoll()
poll.register(reader, select.EPOLLIN)
assert poll.poll(0) == []
os.write(writer, b"x")
assert poll.poll(1) == [(reader, select.EPOLLIN)] and select.select([reader], [], [], 0)[0] == [reader]
selector = selectors.DefaultSelector()
selector.register(reader, selectors.EVENT_READ)
assert len(selector.select(1)) == 1 and os.read(os.eventfd(5), 8)[0] == 5""",
    "sockets in pairs": """
import socket
a, b = socket.socketpair()
a.sendall(b"x")
b.settimeout(0.01)
assert b.recv(9) == b"x" and b.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
try:
    b.recv(1)
except TimeoutError:
    a.shutdown(socket.SHUT_WR)
assert socket.socket(fileno=b.detach()).recv(1) == b"\"""",
    "files and folders": """
import os, shutil, tempfile
os.mkdir("d")
with open("d/a", "w") as file:
    file.write("x")
    file.flush()
    os.fsync(file.fileno())
shutil.copy2("d/a", "d/b")
shutil.copytree("d", "e")
shutil.move("e/b", "c")
os.replace("c", "e/b")
with tempfile.TemporaryFile() as file, tempfile.NamedTemporaryFile(), tempfile.TemporaryDirectory() as folder:
    file.write(b"x")
    assert os.listdir(folder) == []
assert sorted(os.listdir("e")) == ["a", "b"] and os.stat("e/b").st_mtime == os.stat("d/a").st_mtime
shutil.rmtree("e")""",
    "sqlite3 in memory": """
import sqlite3
database = sqlite3.connect(":memory:")
database.execute("create table t (a)")
database.execute("insert into t values (3)")
assert database.execute("select * from t").fetchall() == [(3,)]""",
    "what is asked of the machine": """
import os, platform, resource, shutil, sys, time
assert os.cpu_count() and os.sched_getaffinity(0) and not sys.stdin.isatty()
os.sched_setaffinity(0, os.sched_getaffinity(0))
assert os.nice(0) >= 0 and shutil.get_terminal_size() and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) and os.times().user >= 0 and platform.machine()
os.posix_fadvise(0, 0, 0, os.POSIX_FADV_SEQUENTIAL)
assert os.environ["PATH"] == "/usr/bin:/bin" and os.path.expanduser("~") == "/tmp\"""",
    "numpy": """
try:
    import numpy
except ImportError:
    numpy = None
else:
    square = numpy.ones((300, 300))
    assert (square @ square).sum() == 300**3 and numpy.linalg.svd(square)[1][0] > 299""",
    "time zones": """
import datetime, zoneinfo
summer = datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
assert summer.utcoffset() == datetime.timedelta(hours=2)""",
}


@pytest.mark.nsjail
@pytest.mark.parametrize("kind", ORDINARY)
def test_what_ordinary_programs_do_works(judge: SyncJudge, kind: str) -> None:
    assert judge.output(f"{ORDINARY[kind]}\nprint('done')", memory_mb=512) == "done\n"


@pytest.mark.nsjail
@pytest.mark.parametrize("kind", ["threads", "multiprocessing", "asyncio"])
def test_the_same_works_where_memory_is_charged(charged: SyncJudge, kind: str) -> None:
    assert charged.output(f"{ORDINARY[kind]}\nprint('done')", memory_mb=512) == "done\n"


@pytest.mark.nsjail
def test_a_spawn_pool_of_the_interpreter_works(judge: SyncJudge) -> None:
    source = """
import subprocess, sys
script = "import multiprocessing as m\\nif __name__ == '__main__':\\n" \\
    "    with m.get_context('spawn').Pool(1) as pool: print(pool.map(abs, [-4]))"
open("main.py", "w").write(script)
print(subprocess.run([sys.executable, "main.py"], capture_output=True, text=True))"""
    assert "[-4]" not in (said := judge.output(source, memory_mb=512)) and "[4]" in said, said


# ---- devices ----


@defence(
    (
        "rlef_plugin/judge/jail.py",
        "mounts.append(MountPt(src=device, dst=device, is_bind=True, mandatory=False))",
        "mounts.append(MountPt(src=device, dst=device, is_bind=True, rw=True, mandatory=False))",
    ),
)
@pytest.mark.nsjail
def test_devices_can_be_used_and_nothing_can_be_left_in_them(judge: SyncJudge) -> None:
    """Their inodes are the machine's own, the same in all jails: EROFS (30) also where the user owns them."""
    source = """
import fcntl, os
assert len(open("/dev/urandom", "rb").read(9)) == 9
print("lost", file=open("/dev/null", "w"))
before = os.stat("/dev/null")
file = os.open("/dev/null", os.O_RDWR)
errors = []
for change in (
    lambda: os.utime("/dev/null", (1, 1)),
    lambda: os.chmod("/dev/null", 0o666),
    lambda: os.fchmod(file, 0o666),
    lambda: fcntl.flock(file, fcntl.LOCK_EX),
    lambda: fcntl.lockf(file, fcntl.LOCK_EX),
    lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK),
):
    try:
        change()
        errors.append(0)
    except OSError as error:
        errors.append(error.errno)
print(errors, os.stat("/dev/null") == before)"""
    assert judge.output(source) == "[30, 30, 30, 1, 1, 1] True\n"


# ---- limits ----


@defence(("sandbox/config.py", '{"MALLOC_ARENA_MAX": "1"}', "{}"))
@pytest.mark.nsjail
@pytest.mark.parametrize("memory_mb", [16, 64, 512])
def test_as_many_threads_as_promised_fit_at_every_memory_limit(judge: SyncJudge, memory_mb: int) -> None:
    source = """
import threading
stop, held = threading.Event(), []
def hold():
    held.append(bytes(2000))
    stop.wait()
try:
    for _ in range(99):
        threading.Thread(target=hold).start()
except RuntimeError:
    print(len(held))
stop.set()"""
    assert judge.output(source, memory_mb=memory_mb) == "46\n"


DEEP = """
import ctypes, functools, resource, sys
resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sys.setrecursionlimit(10**6)
@functools.lru_cache(None)
def through_c(n): return n and through_c(n - 1) + 1
def plain(n): return n and plain(n - 1) + 1
def sorting(n): return n and max([n], key=lambda _: sorting(n - 1))
for function, depth in (plain, 50000), (through_c, 50000), (through_c, 400), (sorting, 50000), (sorting, 200):
    try:
        print(function(depth))
    except RecursionError:
        print("too deep")
class Large(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char * (64 << 20))]
ctypes.CDLL(None).abs(Large())  # copied to the stack: 64 MiB of it
print("done")"""


@defence(("sandbox/runner.py", "(soft_bytes, stack_bytes))", "(soft_bytes, soft_bytes))"))
@pytest.mark.nsjail
def test_a_program_that_raises_its_stack_limit_recurses_as_deep_as_outside(judge: SyncJudge) -> None:
    outside = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True)
    assert outside.stdout.endswith("done\n") and judge.output(DEEP, cpu_s=10, memory_mb=512) == outside.stdout


@defence(("sandbox/runner.py", "_thread.stack_size(soft_bytes)", "pass"))
@pytest.mark.nsjail
def test_a_thread_has_eight_megabytes_of_stack(judge: SyncJudge) -> None:
    """As on stock Linux. ctypes and libffi copy the structure once each: six megabytes."""
    source = """
import ctypes, resource, threading
class Large(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char * (3 << 20))]
thread = threading.Thread(target=lambda: ctypes.CDLL(None).abs(Large()))
thread.start()
thread.join()
print(resource.getrlimit(resource.RLIMIT_STACK)[0])"""
    assert judge.output(source) == "8388608\n"


@defence(
    ("sandbox/runner.py", "resource.RLIMIT_SIGPENDING, (signals, signals)", "resource.RLIMIT_SIGPENDING, (-1, -1)")
)
@pytest.mark.nsjail
def test_queued_signals_are_bounded(judge: SyncJudge) -> None:
    """The kernel drops what is beyond the limit without a word."""
    source = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [50])
for _ in range(2000):
    os.kill(os.getpid(), 50)
queued = 0
while signal.sigtimedwait([50], 0):
    queued += 1
print(0 < queued <= 257, queued)  # the last one is known to be pending, without a place in the queue
"""
    assert judge.output(source).startswith("True")


@pytest.mark.nsjail
def test_memory_cannot_be_locked_and_no_core_is_written(judge: SyncJudge) -> None:
    source = """
import resource
for name in "MEMLOCK", "MSGQUEUE", "CORE":
    print(*resource.getrlimit(getattr(resource, "RLIMIT_" + name)))"""
    assert judge.output(source) == "0 0\n" * 3


OPEN_JUDGE = """
import asyncio, sys
from judge_helpers import Case
from rlef_plugin.judge import JudgeConfig, Limits, SandboxError, open_judge
async def main():
    judge = await open_judge(JudgeConfig(workers=1))
    print((await judge.judge("print(input())", [Case("1", "1")], Limits(2, 256))).verdict.label)
    await judge.close()
try:
    asyncio.run(main())
except SandboxError as error:
    print(error)"""


def opened_under(name: str, limit: int) -> str:
    """What a judge says whose caller has this hard limit."""

    def lower() -> None:
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))

    run = subprocess.run(
        [sys.executable, "-c", OPEN_JUDGE],
        cwd=ROOT / "tests",
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"},
        preexec_fn=lower,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.stdout.strip() or run.stderr[-1000:]


@pytest.mark.nsjail
@pytest.mark.parametrize(
    ("name", "limit"), [("STACK", 8 << 20), ("STACK", 3 << 20), ("NOFILE", 100), ("MEMLOCK", 0), ("CORE", 0)]
)
def test_lower_limits_of_the_caller_that_do_no_harm_are_taken(name: str, limit: int) -> None:
    assert opened_under(name, limit) == "accepted"


@pytest.mark.nsjail
@pytest.mark.parametrize(
    ("name", "limit", "letter"),
    [("AS", 8 << 30, "v"), ("CPU", 600, "t"), ("FSIZE", 100 << 20, "f"), ("NOFILE", 63, "n"), ("NPROC", 40, "u")],
)
def test_lower_limits_of_the_caller_that_would_change_verdicts_are_named(name: str, limit: int, letter: str) -> None:
    said = opened_under(name, limit)
    assert said.startswith(f"The caller's hard limit RLIMIT_{name} is {limit}, but a jail needs "), said
    assert f"`ulimit -H{letter}`" in said and said.count("\n") == 0


@pytest.mark.nsjail
def test_only_a_verdict_comes_of_a_program_that_makes_refused_calls(judge: SyncJudge) -> None:
    (test,) = judge.run("import socket\nsocket.socket()", limits=Limits(cpu_s=2))
    assert test.verdict is Verdict.EXCEPTION and "PermissionError" in test.error
