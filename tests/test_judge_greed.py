"""Programs that take too much of something: memory by every way there is, descriptors, files, output, time.

As in test_judge_attacks.py, one attack a test, in real jails. What a bound is made of is named by `@defence`."""

from collections.abc import Iterator

import pytest
from judge_helpers import SyncJudge, defence, sync_judge

from rlef_plugin.judge import Limits, Verdict

pytestmark = pytest.mark.nsjail


@pytest.fixture(scope="module")
def judge() -> Iterator[SyncJudge]:
    with sync_judge(workers=2) as judge:
        yield judge


@pytest.fixture(scope="module")
def uncharged() -> Iterator[SyncJudge]:
    """A judge whose jails have no cgroups."""
    with sync_judge(workers=2, cgroup="none") as judge:
        yield judge


@defence(("sandbox/runner.py", "resource.setrlimit(resource.RLIMIT_AS, (task", "0 and (0, (task"))
def test_address_space_is_bounded_where_nothing_else_bounds_memory(uncharged: SyncJudge) -> None:
    """Nothing of these two GiB is ever touched, so that no other limit sees them; a cgroup would, if they were."""
    (test,) = uncharged.run("x = bytes(2 << 30)", limits=Limits(cpu_s=2, memory_mb=128))
    assert test.verdict is Verdict.OUT_OF_MEMORY and test.peak_memory_mb < 64


@pytest.mark.parametrize(
    "take",
    [
        "x = bytearray(300 << 20)",
        "x = [i for i in range(10**8)]",
        "import mmap; m = mmap.mmap(-1, 300 << 20, mmap.MAP_PRIVATE); m.write(b'x' * (300 << 20))",
        "s = 'x'\nwhile True: s += s",
        "import collections; d = collections.defaultdict(list)\nfor i in range(10**8): d[i]",
        "import threading\nx, f = [], lambda: x.append(b'x' * (40 << 20))\n"
        "for _ in range(9): threading.Thread(target=f).start()",
    ],
)
@pytest.mark.parametrize("kind", ["judge", "uncharged"])
def test_memory_of_one_process_is_bounded_however_it_is_taken(
    request: pytest.FixtureRequest, kind: str, take: str
) -> None:
    (test,) = request.getfixturevalue(kind).run(take, limits=Limits(cpu_s=10, memory_mb=128))
    assert test.verdict is Verdict.OUT_OF_MEMORY, test


@defence(
    ("sandbox/policy.kafel", "ERRNO(1) {", "ALLOW {"),
    ("sandbox/config.py", "SCRATCH_BYTES = 64 * 2**20", "SCRATCH_BYTES = 640 * 2**20"),
)
def test_memory_that_belongs_to_no_process_is_bounded(judge: SyncJudge) -> None:
    """Memory files, shared memory and message queues are refused; files of a tmpfs, and the program's three streams
    stay within their own limits. The kernel bounds what pipes hold (fs.pipe-user-pages-soft)."""
    source = """
import ctypes, fcntl, os
libc = ctypes.CDLL(None, use_errno=True)
block, held = b"x" * (1 << 20), []

def fill(fd):
    taken = 0
    try:
        os.set_blocking(fd, False)
        while taken < 512 << 20:
            taken += os.write(fd, block)
    except OSError:
        pass
    return taken >> 20

def memfd():
    return fill(os.memfd_create("x"))
def system_v():
    return 512 if libc.shmget(0, 512 << 20, 0o1600) >= 0 else 0
def messages():
    return 512 if libc.msgget(0, 0o1600) >= 0 else 0
def posix_shared():
    return fill(os.open("/dev/shm/x", os.O_RDWR | os.O_CREAT))
def scratch():
    return sum(fill(os.open(f"/tmp/{i}", os.O_RDWR | os.O_CREAT)) for i in range(100))
def streams():
    return fill(0) + fill(2)
def hole():
    return 512 * (libc.fallocate(0, 1, ctypes.c_long(0), ctypes.c_long(512 << 20)) == 0)
def pipes():
    taken = 0
    try:
        while True:
            held.extend(os.pipe())
            try: fcntl.fcntl(held[-1], 1031, 1 << 20)
            except OSError: pass
            taken += fill(held[-1])
    except OSError:
        return taken

for way in (memfd, system_v, messages, posix_shared, scratch, streams, hole, pipes):
    try:
        print(way.__name__, way())
    except OSError:
        print(way.__name__, 0)
"""
    (test,) = judge.run(source, limits=Limits(cpu_s=10, memory_mb=256, output_bytes=1 << 20))
    taken = {
        name: int(megabytes) for name, _, megabytes in (s.partition(" ") for s in test.stdout.decode().splitlines())
    }
    pipes = taken.pop("pipes")
    assert pipes <= 64, pipes
    assert 60 <= taken.pop("scratch") <= 64
    assert set(taken.values()) <= {0, 1, 2} and len(taken) == 6, (taken, test)


@defence(("sandbox/config.py", "SCRATCH_FILES = 4096", "SCRATCH_FILES = 9999"))
def test_number_of_files_is_bounded(judge: SyncJudge) -> None:
    source = """
made = 0
try:
    while made < 9000:
        open(f"/tmp/{made}", "w").close()
        made += 1
except OSError as error:
    print(made < 4096, error.errno)"""
    assert judge.output(source) == "True 28\n"


@defence(
    (
        "sandbox/runner.py",
        'resource.setrlimit(resource.RLIMIT_FSIZE, (task["file_bytes"],) * 2)',
        "pass",
    ),
)
@pytest.mark.parametrize("target", ["os.open('/tmp/x', os.O_RDWR | os.O_CREAT)", "0", "1"])
def test_no_file_grows_beyond_the_output_limit(judge: SyncJudge, target: str) -> None:
    source = f"""
import os, sys
fd, block = {target}, b"x" * 4096
try:
    for _ in range(1000):
        os.write(fd, block)
except OSError:
    pass
sys.stderr.write(str(os.fstat(fd).st_size))"""
    (test,) = judge.run(source, limits=Limits(cpu_s=2, output_bytes=100_000))
    assert test.error == "100001", test


def test_descriptors_of_many_processes_are_bounded_too(judge: SyncJudge) -> None:
    """Defence: `MAX_OPEN_FILES` and `MAX_PROCESSES` in sandbox/config.py, for each of which another test stands."""
    source = """
import os
opened = 0
reader, writer = os.pipe()
while True:
    try:
        if os.fork() == 0:
            n = 0
            try:
                while True: os.dup(0); n += 1
            except OSError: os.write(writer, b"x" * n)
            os.read(os.pipe()[0], 1) if n > 999 else os._exit(0)
    except OSError:
        break
try:
    while True: os.wait()
except ChildProcessError:
    print(len(os.read(reader, 1 << 20)) <= 48 * 128)"""
    assert judge.output(source) == "True\n"


@defence(
    (
        "sandbox/config.py",
        "MAX_PROCESSES = 48",
        "MAX_PROCESSES = 400",
    ),
)
def test_threads_are_bounded(uncharged: SyncJudge) -> None:
    source = """
import threading
stop, made = threading.Event(), 0
threading.stack_size(1 << 16)
try:
    while made < 300:
        threading.Thread(target=stop.wait).start()
        made += 1
except RuntimeError:
    pass
stop.set()
print(made)"""
    assert 20 <= int(uncharged.output(source, memory_mb=512)) < 48


SPINS = {
    "children": "os.fork() and os.wait()\nburn(99)",
    "children nobody waits for": """
try: signal.signal(signal.SIGCHLD, signal.SIG_IGN)
except OSError: pass
while True:
    if os.fork() == 0:
        burn(0.06)
        os._exit(0)
    time.sleep(0.1)""",
    "detached children": """
while True:
    if os.fork() == 0:
        os.setsid()
        os.fork() and os._exit(0)
        burn(0.02)
        os._exit(0)
    os.wait()
    time.sleep(0.02)""",
    "a thread": "threading.Thread(target=burn, args=(99,)).start()\ntime.sleep(99)",
    "a program that sleeps meanwhile": "os.fork() or burn(99)\ntime.sleep(99)",
}


@defence(("sandbox/policy.kafel", "rt_sigaction { sig != 17 || act == 0 }", "rt_sigaction"))
@pytest.mark.parametrize("spin", SPINS.values(), ids=SPINS)
def test_cpu_time_is_counted_wherever_it_is_spent(judge: SyncJudge, spin: str) -> None:
    """And not only when the wall limit, 6 s here, ends the test."""
    source = f"""
import os, signal, threading, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
{spin}"""
    (test,) = judge.run(source, limits=Limits(cpu_s=0.1))
    assert test.verdict is Verdict.TIMEOUT
    assert test.wall_s < 5.5 and test.cpu_s > 0.1, test


def test_cpu_time_of_far_process_numbers_is_counted_when_the_test_ends(judge: SyncJudge) -> None:
    """Too little of it for the server's own watch, which acts from 3 s on here."""
    source = """
import os, time
for _ in range(600):
    os.fork() or os._exit(0)
    os.wait()
if os.fork() == 0:
    while time.process_time() < 0.7: pass
    os._exit(0)
os.wait()"""
    (test,) = judge.run(source, limits=Limits(cpu_s=0.5))
    assert test.verdict is Verdict.TIMEOUT and test.cpu_s > 0.5, test
