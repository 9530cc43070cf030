"""The cgroups of jails: what the kernel charges, at what limit it ends a program, and whose cgroups are whose.

Real ones where this process may make them (as root here, cgroup v1). What of v2 cannot run here is driven against a
folder of plain files. Programs are plain processes: what a jail adds is tested elsewhere."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge_helpers import ROOT

from rlef_plugin.judge import JudgeConfig, cgroups
from rlef_plugin.judge.cgroups import Cgroups, JailCgroup, bound_bytes, cores, report
from rlef_plugin.judge.jail import sandbox_config

MIB = 2**20
SHARED = """
import mmap
memory = mmap.mmap(-1, int(given) << 20)
for i in range(0, len(memory), 4096):
    memory[i] = 1
    if i % (8 << 20) == 0:
        memory.madvise(mmap.MADV_DONTNEED)
memory.madvise(mmap.MADV_DONTNEED)
"""
SOCKETS = """
import socket
pairs = [socket.socketpair() for _ in range(int(given))]
for pair in pairs:
    for end in pair:
        end.setblocking(False)
        try:
            while end.send(b"x" * 65536): pass
        except BlockingIOError:
            pass
"""
FRAME = """
import os, signal, sys, time
given = {given!r}
sys.stdin.readline()
{program}
print("did", flush=True)
sys.stdin.readline()
"""
CHARGED = {  # kind of memory: a program that takes it, and how many MiB of it at least
    "sockets": (SOCKETS, "40", 15),
    "shared memory that no page table holds": (SHARED, "32", 32),
    "memory files": ("f = os.memfd_create('x'); os.write(f, bytes(32 << 20))", "", 32),
    "files in memory": ("f = os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR); os.write(f, bytes(32 << 20))", "", 32),
    "pipes": (
        "for _ in range(100):\n"
        "    end = os.pipe()[1]; os.set_blocking(end, False)\n"
        "    try:\n"
        "        while os.write(end, bytes(65536)): pass\n"
        "    except BlockingIOError: pass",
        "",
        1,
    ),
    "page tables": (
        "import mmap\nm = mmap.mmap(-1, 2 << 30, 0x4022)\nfor i in range(0, 2 << 30, 2 << 20): m[i]",
        "",
        4,
    ),
    "mappings": (
        "import ctypes\nmap = ctypes.CDLL(None).mmap\n"
        "for i in range(20000): map(None, ctypes.c_size_t(4096), i % 2, 0x22, -1, ctypes.c_long(0))",
        "",
        3,
    ),
    "queued signals": (
        "import ctypes\nsignal.pthread_sigmask(signal.SIG_BLOCK, [40])\nqueue = ctypes.CDLL(None).sigqueue\n"
        "for _ in range(20000): queue(os.getpid(), 40, None)",
        "",
        1,
    ),
    "names looked up in vain": ("for i in range(20000): os.path.exists(f'/usr/lib/missing-{os.getpid()}-{i}')", "", 3),
}


class Child:
    """A process that runs `program` once it is told to, then says so, and waits to be let go."""

    def __init__(self, cgroup: JailCgroup, program: str, given: str = "", limit_mib: int = 512) -> None:
        command = [sys.executable, "-S", "-c", FRAME.format(given=given, program=program)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cgroup.add(self.process.pid)
        cgroup.allow(limit_mib * MIB)

    def start(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def run(self) -> str:
        """What it prints first; empty if it ended before."""
        self.start()
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> int:
        """Its exit status, after all that holds its output has ended too."""
        try:
            self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        return self.process.returncode


@pytest.fixture
def real() -> Iterator[Cgroups]:
    found = report()
    if not found.ok:
        pytest.skip(found.detail)
    made = Cgroups.open()
    assert made
    yield made
    made.close()
    assert not folders_of(made)


def names(made: Cgroups) -> list[str]:
    return [name for parent in set(made.parents.values()) for name in os.listdir(parent)]


def folders_of(made: Cgroups) -> list[str]:
    return [name for name in names(made) if name.startswith(made.prefix)]


def waits_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, "this never came true"
        time.sleep(0.005)


def test_shared_memory_that_no_page_table_holds_ends_at_the_limit(real: Cgroups) -> None:
    """256 MiB at a limit of 64: such a program was accepted before."""
    cgroup = real.jail()
    child = Child(cgroup, SHARED, "256", limit_mib=64)
    assert child.run() == ""
    assert child.end() == -signal.SIGKILL
    assert cgroup.oom_kills == 1
    assert 60 * MIB < cgroup.peak_bytes <= 64 * MIB


def test_a_program_within_its_limit_is_measured_and_left_alone(real: Cgroups) -> None:
    cgroup = real.jail()
    child = Child(cgroup, SHARED, "48", limit_mib=64)
    assert child.run() == "did"
    assert 48 * MIB < cgroup.memory_bytes <= cgroup.peak_bytes <= 64 * MIB
    assert child.end() == 0
    assert cgroup.oom_kills == 0
    assert cgroup.memory_bytes < 8 * MIB < cgroup.peak_bytes


@pytest.mark.parametrize("kind", CHARGED)
def test_memory_of_the_kernel_is_charged(real: Cgroups, kind: str) -> None:
    program, given, at_least_mib = CHARGED[kind]
    cgroup = real.jail()
    child = Child(cgroup, program, given)
    assert child.run() == "did"
    assert cgroup.memory_bytes > at_least_mib * MIB
    assert child.end() == 0


def test_socket_buffers_never_exceed_the_limit(real: Cgroups) -> None:
    """200 pairs would hold some 90 MiB, as they did before."""
    cgroup = real.jail()
    child = Child(cgroup, SOCKETS, "200", limit_mib=32)
    assert child.run() == ""
    assert child.end() != 0
    assert cgroup.peak_bytes <= 32 * MIB


def test_records_of_file_locks_are_not_charged(real: Cgroups) -> None:
    """So the policy has to refuse them. If this fails, a newer kernel charges them: say so in cgroups.py."""
    program = (
        "import fcntl\nfile = os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR)\nprint('did', flush=True)\n"
        "sys.stdin.readline()\nfor i in range(4000): fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * i)"
    )
    cgroup = real.jail()
    child = Child(cgroup, program)
    assert child.run() == "did"
    before = cgroup.memory_bytes
    assert child.run() == "did"
    assert cgroup.memory_bytes - before < 4000 * 100  # a record takes more than 150 bytes
    assert child.end() == 0


def test_processes_are_bounded(real: Cgroups) -> None:
    if "pids" not in real.parents:
        pytest.skip("no pids controller may be used here")
    program = """
try:
    for made in range(100):
        if not os.fork():
            signal.pause()
except BlockingIOError:
    print(made)
"""
    cgroup = real.jail()
    child = Child(cgroup, program)
    assert child.run() == str(cgroups.MAX_PROCESSES - 1)
    cgroup.kill()
    child.end()


def test_a_jail_may_hold_all_the_processes_of_the_sandbox_beside_its_own_two() -> None:
    assert cgroups.MAX_PROCESSES == sandbox_config()["MAX_PROCESSES"] + 2


def test_a_crowd_gets_the_share_of_one(real: Cgroups) -> None:
    """20 processes against 1 on one core: 20 times as much CPU time without cgroups."""
    if "cpu" not in real.parents or not (real.v2 or "cpuacct" in real.parents):
        pytest.skip("no cpu controller may be used here")
    core = min(os.sched_getaffinity(0))
    pinned = f"os.sched_setaffinity(0, [{core}])\n"
    crowd, alone = real.jail(), real.jail()
    children = [
        Child(crowd, pinned + "for _ in range(19):\n    if not os.fork(): break\nwhile True: pass"),
        Child(alone, pinned + "while True: pass"),
    ]
    for child in children:
        child.start()
    waits_until(lambda: crowd.cpu_s + alone.cpu_s > 1.5, 60)
    crowd_s, alone_s = crowd.cpu_s, alone.cpu_s
    for cgroup, child in zip((crowd, alone), children, strict=True):
        cgroup.kill()
        child.end()
    assert 0.5 < crowd_s / alone_s < 2


def test_kill_ends_all_processes_wherever_they_went(real: Cgroups) -> None:
    """`end` returns only when nobody holds the output any more."""
    program = "for _ in range(30):\n    if not os.fork():\n        os.setsid()\n        while True: signal.pause()"
    cgroup = real.jail()
    child = Child(cgroup, program)
    assert child.run() == "did"
    cgroup.kill()
    assert child.end() == -signal.SIGKILL


def test_kill_ends_processes_that_fork_on_and_on(real: Cgroups) -> None:
    program = (
        "print('did', flush=True)\nwhile True:\n    try:\n        if os.fork(): os._exit(0)\n    except OSError: pass"
    )
    cgroup = real.jail()
    child = Child(cgroup, program)
    assert child.run() == "did"
    cgroup.kill()
    child.end()
    waits_until(lambda: cgroup.empty)


def test_kill_spares_a_process_that_is_no_longer_in_it(real: Cgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another process's by then."""
    cgroup, bystander = real.jail(), subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    listings = iter([[bystander.pid], [], []])
    monkeypatch.setattr(cgroup, "_v2", False)
    monkeypatch.setattr(cgroup, "_processes", lambda: next(listings))
    cgroup.kill()
    assert bystander.communicate() == (None, None) and bystander.returncode == 0


def test_a_cgroup_that_holds_a_process_is_not_used_again(real: Cgroups) -> None:
    first = real.jail()
    child = Child(first, "pass")
    first.release()
    second = real.jail()
    assert second is not first
    child.end()
    waits_until(lambda: first.empty)
    assert real.jail() is first


def test_a_cgroup_that_is_used_again_counts_anew_and_lets_processes_be_made(real: Cgroups) -> None:
    used = real.jail()
    child = Child(used, SHARED, "256", limit_mib=64)
    child.run()
    child.end()
    used._seal()  # as `kill` does where it finds new processes again and again
    used.release()
    waits_until(lambda: used.empty)
    again = real.jail()
    assert again is used
    child = Child(again, "if not os.fork(): os._exit(0)\nos.wait()")
    assert child.run() == "did"
    assert again.oom_kills == 0 and again.peak_bytes < 32 * MIB and again.cpu_s < 5
    assert child.end() == 0


def test_a_cgroup_that_stays_charged_is_removed_instead(real: Cgroups) -> None:
    """The memory file is this process's, but its pages are charged to who wrote them."""
    first, file = real.jail(), os.memfd_create("kept")
    child = Child(first, f"os.write(os.open('/proc/{os.getpid()}/fd/{file}', os.O_WRONLY), bytes(48 << 20))")
    assert child.run() == "did" and child.end() == 0
    first.release()
    waits_until(lambda: first.empty)
    before = folders_of(real)
    assert real.jail() is not first
    assert len(folders_of(real)) == len(before)
    os.close(file)


def test_a_kill_at_a_limit_above_is_not_the_programs(real: Cgroups) -> None:
    """As where a container runs out of memory: the kernel counts the kill in the jail's cgroup too."""
    if real.v2:
        pytest.skip("this process's own cgroup is v2: its controllers are in use")
    above = Path(real.parents["memory"], f"rlef-test-{os.getpid()}")
    above.mkdir()
    (above / "memory.limit_in_bytes").write_text(str(64 * MIB))
    made = Cgroups.open(str(above))
    assert made
    cgroup = made.jail()
    child = Child(cgroup, SHARED, "128", limit_mib=256)
    child.run()
    assert child.end() == -signal.SIGKILL
    counted, own = cgroup._ooms()[1], cgroup.oom_kills
    made.close()
    above.rmdir()
    assert (counted, own) == (1, 0)


def server_that(end: str) -> tuple[subprocess.Popen, str]:
    """Another server's process, and the prefix of its cgroups."""
    program = "import os, sys\nfrom rlef_plugin.judge.cgroups import Cgroups\nmade = Cgroups.open()\n"
    program += f"print(made.prefix, flush=True)\n{end}"
    other = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    return other, other.stdout.readline().strip()


def prefixes(made: Cgroups) -> set[str]:
    """Of the servers whose cgroups there are."""
    return {name.rpartition("-")[0] for name in names(made)}


def test_leftovers_of_a_dead_server_are_removed(real: Cgroups) -> None:
    other, prefix = server_that("os._exit(1)")
    other.communicate()
    assert prefix in prefixes(real)
    cgroups.remove_leftovers()
    assert prefix not in prefixes(real)


def test_a_server_that_opens_removes_those_of_a_dead_one(real: Cgroups) -> None:
    other, prefix = server_that("os._exit(1)")
    other.communicate()
    second = Cgroups.open()
    assert second and prefix not in prefixes(real)
    second.close()


def test_a_living_server_keeps_its_cgroups(real: Cgroups) -> None:
    other, prefix = server_that("sys.stdin.readline()\nmade.close()")
    second = Cgroups.open()
    assert second and prefix in prefixes(real)
    second.close()
    other.communicate("\n")
    assert other.returncode == 0 and prefix not in prefixes(real)
    assert folders_of(real)


def test_closing_ends_what_is_left(real: Cgroups) -> None:
    other = Cgroups.open()
    assert other
    child = Child(other.jail(), "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()")
    child.start()
    other.close()
    assert child.end() == -signal.SIGKILL


SAYS = "print(Cgroups.open(), *report(), sep=chr(10))"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="not root: needs another user, or a mount")


@needs_root
def test_an_ordinary_user_is_told_what_to_do(real: Cgroups) -> None:
    code = f"import os; from rlef_plugin.judge.cgroups import *; os.setuid(65534); {SAYS}"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    opened, ok, detail, fix = said.stdout.splitlines()
    assert (opened, ok) == ("None", "False")
    assert "may not be changed by user 65534" in detail and "Not bounded then: " in detail
    assert "systemd-run --user --scope" in fix


@needs_root
def test_a_read_only_mount_as_dockers_is_told(real: Cgroups) -> None:
    code = f"from rlef_plugin.judge.cgroups import *; {SAYS}"
    mount = next(mount for name, (_, mount) in cgroups._own_folders().items() if name == ("" if real.v2 else "memory"))
    shell = f'mount -o remount,bind,ro {mount} && exec {sys.executable} -c "{code}"'
    said = subprocess.run(["unshare", "--mount", "sh", "-c", shell], cwd=ROOT, capture_output=True, text=True)
    opened, ok, detail, fix = said.stdout.splitlines()
    assert (opened, ok) == ("None", "False")
    assert "is mounted read-only" in detail and "--privileged" in fix


def test_they_can_be_turned_off() -> None:
    assert Cgroups.open("none") is None
    assert report("none").detail.startswith("no cgroup for each jail: rlef.judge.cgroup is none.")


def test_a_folder_that_is_no_cgroup_is_named(tmp_path: Path) -> None:
    assert Cgroups.open(str(tmp_path)) is None
    assert f"rlef.judge.cgroup is {tmp_path}, which is no cgroup" in report(str(tmp_path)).detail


def test_a_folder_by_a_relative_path_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="JudgeConfig.cgroup is 'judge', but must be"):
        JudgeConfig(cgroup="judge")


def test_the_bound_leaves_room_for_all_that_is_charged_beside_the_program() -> None:
    """256 MiB, and 64 for the runner, twice 16 for output and error, 64 for /tmp: 416."""
    assert bound_bytes(256 * MIB, 16 * MIB, 64 * MIB) == 416 * MIB


# cgroup v2, against a folder of plain files that looks like what Linux 6.8 shows

V2_FILES = {
    "cgroup.type": "domain\n",
    "cgroup.procs": "",
    "cgroup.kill": "",
    "cgroup.controllers": "cpuset cpu memory pids\n",
    "cgroup.subtree_control": "",
    "memory.max": "",
    "memory.swap.max": "",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    "memory.oom.group": "1\n",
    "cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n",
    "cpu.weight": "100\n",
    "pids.max": "",
}


@pytest.fixture
def v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is a cgroup; each folder made below it becomes one."""
    plain = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        plain(path, mode)
        for name, content in V2_FILES.items():
            Path(path, name).write_text(content)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(cgroups, "_removed", lambda folder: not shutil.rmtree(folder))
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text()


def the_only_jail(folder: Path) -> Path:
    (jail,) = folder.glob("rlef-[0-9]*")
    return jail


def test_v2_gives_its_children_controllers_after_moving_our_own_processes(v2: Path) -> None:
    (v2 / "cgroup.procs").write_text(f"{os.getpid()}\n")
    made = Cgroups.open(str(v2))
    assert made and made.v2
    assert text(v2 / "rlef-own", "cgroup.procs") == str(os.getpid())
    assert text(v2, "cgroup.subtree_control") == "+memory +cpu +pids"
    assert text(v2, "memory.oom.group")[0] == "0"  # or the kernel ends all that is in the container
    made.close()
    assert not list(v2.glob("rlef-[0-9]*"))


def test_v2_moves_those_that_it_is_told_are_ours(v2: Path) -> None:
    (v2 / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getppid()}\n")
    assert Cgroups.open(str(v2), own=[os.getppid()])


def test_v2_never_moves_processes_of_others(v2: Path) -> None:
    (v2 / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getppid()}\n")
    assert Cgroups.open(str(v2)) is None
    assert text(v2, "cgroup.subtree_control") == "" and not (v2 / "rlef-own").exists()
    assert f"{v2} holds 1 other processes, number {os.getppid()} among them" in report(str(v2)).detail


def test_v2_that_has_what_it_needs_is_left_as_it_is(v2: Path) -> None:
    (v2 / "cgroup.procs").write_text("1\n")
    (v2 / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert Cgroups.open(str(v2))
    assert text(v2, "cgroup.procs") == "1\n" and not (v2 / "rlef-own").exists()


def test_v2_in_the_leaf_for_our_own_uses_the_folder_above(v2: Path) -> None:
    """Where the command, or another judge of it, has gone there before."""
    (v2 / "rlef-own").mkdir()
    made = Cgroups.open(str(v2 / "rlef-own"))
    assert made and made.parents["memory"] == str(v2)


def test_v2_without_a_memory_controller_is_told(v2: Path) -> None:
    (v2 / "cgroup.controllers").write_text("hugetlb\n")
    assert Cgroups.open(str(v2)) is None
    assert "has no memory controller, only: hugetlb" in report(str(v2)).detail


def test_v2_limits_memory_and_processes_without_swap(v2: Path) -> None:
    made = Cgroups.open(str(v2))
    assert made
    cgroup = made.jail()
    cgroup.add(77)
    cgroup.allow(64 * MIB)
    jail = the_only_jail(v2)
    files = ("cgroup.procs", "memory.max", "memory.swap.max", "pids.max")
    assert [text(jail, name) for name in files] == ["77", str(64 * MIB), "0", "50"]
    cgroup.kill()
    assert text(jail, "cgroup.kill") == "1"


def test_v2_looks_at_the_number_of_threads_before_it_uses_one_again(v2: Path) -> None:
    made = Cgroups.open(str(v2))
    assert made
    first, jail = made.jail(), the_only_jail(v2)
    (jail / "pids.current").write_text("1\n")
    first.release()
    second = made.jail()
    assert second is not first
    (jail / "pids.current").write_text("0\n")
    assert made.jail() is first


def test_v2_counts_from_when_a_program_is_allowed(v2: Path) -> None:
    made = Cgroups.open(str(v2))
    assert made
    cgroup, jail = made.jail(), the_only_jail(v2)
    (jail / "memory.events").write_text("oom 3\noom_kill 2\n")
    cgroup.allow(64 * MIB)
    assert (cgroup.memory_bytes, cgroup.oom_kills, cgroup.cpu_s) == (4096, 0, 0)
    (jail / "memory.events").write_text("oom 3\noom_kill 4\n")
    assert cgroup.oom_kills == 0  # not at this cgroup's limit
    (jail / "memory.events").write_text("oom 4\noom_kill 5\n")
    (jail / "cpu.stat").write_text("usage_usec 1750000\n")
    assert (cgroup.oom_kills, cgroup.cpu_s) == (3, 0.25)


def test_v2_says_no_peak_where_an_older_one_hides_it(v2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.12 nothing resets it."""
    made = Cgroups.open(str(v2))
    assert made
    cgroup, jail = made.jail(), the_only_jail(v2)

    def pwrite(descriptor: int, content: bytes, offset: int) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("memory.peak"):
            raise OSError(22, "Invalid argument")
        return os.write(descriptor, content)

    monkeypatch.setattr(os, "pwrite", pwrite)
    cgroup.allow(64 * MIB)
    assert cgroup.peak_bytes == 0
    (jail / "memory.peak").write_text("9000\n")
    assert cgroup.peak_bytes == 9000


def test_what_a_kernel_does_not_show_counts_as_nothing(v2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 5.4 has neither a peak nor cgroup.kill."""
    for name in ("memory.peak", "memory.current", "memory.events", "cpu.stat", "memory.swap.max"):
        monkeypatch.delitem(V2_FILES, name)
    made = Cgroups.open(str(v2))
    assert made
    cgroup = made.jail()
    cgroup.allow(64 * MIB)
    assert (cgroup.memory_bytes, cgroup.peak_bytes, cgroup.oom_kills, cgroup.cpu_s) == (0, 0, 0, 0.0)


@needs_root
def test_kill_of_a_real_v2_cgroup() -> None:
    """Any mount of cgroup2 will do for that: its memory files are not needed, and missing here."""
    folder = cgroups._own_folders().get("", [None])[0]
    if folder is None or not os.access(folder, os.W_OK):
        pytest.skip("no cgroup2 may be changed here")
    path = f"{folder}/rlef-test-{os.getpid()}"
    cgroup = JailCgroup({"memory": path}, True, None)  # type: ignore[arg-type]
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    cgroup.add(child.pid)
    assert not cgroup.empty
    cgroup.kill()
    assert child.wait() == -signal.SIGKILL
    waits_until(cgroup.remove)


# Cores

V1, V2 = "cgroup cgroup rw,cpu,cpuacct", "cgroup2 cgroup2 rw,nsdelegate"
AFFINITY = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("where", "top", "kind", "quotas", "expected"),
    [
        ("/", "/", V2, {}, 8),
        ("/a/b", "/", V2, {"a/b": "200000 100000"}, 2),
        ("/a/b", "/", V2, {"a/b": "max 100000", "a": "300000 100000"}, 3),
        ("/a/b", "/", V2, {"a/b": "250000 100000"}, 2),
        ("/a/b", "/", V2, {"a/b": "50000 100000"}, 1),
        ("/a/b", "/", V2, {"a/b": "6400000 100000"}, 8),
        ("/a/b", "/", V1, {"a/b": "400000 100000"}, 4),
        ("/a/b", "/", V1, {"a/b": "-1 100000", "a": "500000 100000"}, 5),
        ("/docker/id", "/docker/id", V1, {"": "200000 100000"}, 2),  # a container that sees the machine's paths
        ("/", "/..", V2, {"": "200000 100000"}, 8),  # another one's cgroup, mounted here: not ours
        ("/../x", "/", V2, {"": "200000 100000"}, 8),
    ],
)
def test_cores_are_what_affinity_and_quotas_leave(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    top: str,
    kind: str,
    quotas: dict[str, str],
    expected: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    mount = tmp_path / "mount"
    names = "" if kind == V2 else "cpu,cpuacct"
    (tmp_path / "cgroup").write_text(f"5:pids:/x\n3:{names}:{where}\n")
    (tmp_path / "mountinfo").write_text(
        f"31 23 0:28 {top} {mount} rw shared:9 - {kind}\n22 1 0:1 / / rw - ext4 /dev/a rw\n"
    )
    for folder, quota in quotas.items():
        (mount / folder).mkdir(parents=True, exist_ok=True)
        files = (
            {"cpu.max": quota}
            if kind == V2
            else dict(zip(("cpu.cfs_quota_us", "cpu.cfs_period_us"), quota.split(), strict=True))
        )
        for name, content in files.items():
            (mount / folder / name).write_text(f"{content}\n")
    assert cores(str(tmp_path)) == expected


def test_a_process_under_a_real_quota_has_as_many_workers_as_cores_are_left(real: Cgroups) -> None:
    """1.0 of a core."""
    if real.v2 or "cpu" not in real.parents:
        pytest.skip("no cpu controller of v1 may be used here")
    folder = Path(real.parents["cpu"], f"rlef-test-{os.getpid()}")
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text((folder / "cpu.cfs_period_us").read_text())
    code = "from rlef_plugin.judge import JudgeConfig; input(); print(JudgeConfig().worker_count)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1, text=True)
    (folder / "cgroup.procs").write_text(str(child.pid))
    said = child.communicate("\n")[0]
    folder.rmdir()
    assert AFFINITY > 1 and JudgeConfig().worker_count > 1
    assert said == "1\n"
