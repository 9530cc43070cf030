"""A program that has taken the runner over completely: what it finds (nothing to compare with), what it can change
(its own verdict), and that the jail around it holds.

The takeover is given to it: in a copy of the judge each test keeps the control socket, and its process is a copy of
the runner's memory. `rlef_plugin/judge/` is the same as everywhere."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from judge_helpers import SyncJudge, changed_tree, defence, sync_judge

from rlef_plugin.judge import Limits
from rlef_plugin.judge.wire import HEADER

pytestmark = pytest.mark.nsjail
SOCKET_LEFT_OPEN = ("sandbox/runner.py", "posix.closerange(CONTROL_FD, streams[-1] + 1)", "pass")
POLICY_LEFT_OUT = ("sandbox/policy.kafel", "ERRNO(1) {", "ALLOW {")

# Finds every mapping by asking for each place in the address space, since MAP_FIXED_NOREPLACE fails where something
# is; reads pages through a pipe, which tells whether an address can be read without dying of it.
SEARCH = r"""
import ctypes, errno, os
first, second = b"EXPECTED-", b"s3cr3t"  # never joined here, so every find is somebody else's
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
PRIVATE_ANONYMOUS_NOREPLACE = 0x2 | 0x20 | 0x100000
PAGE = 4096

def is_free(start, size):
    if libc.mmap(start, size, 0, PRIVATE_ANONYMOUS_NOREPLACE, -1, 0) == start:
        libc.munmap(start, size)
        return True
    # The lowest and the highest places are not for programs.
    assert ctypes.get_errno() in (errno.EEXIST, errno.EPERM, errno.ENOMEM), ctypes.get_errno()
    return False

def mappings(start, size):
    if is_free(start, size):
        return
    if size <= 1 << 16:
        yield from range(start, start + size, PAGE)
    else:
        half = size // 2
        yield from mappings(start, half)
        yield from mappings(start + half, half)

def occurrences(data):
    return sum(part.startswith(second) for part in data.split(first)[1:])

def in_memory():
    reader, writer = os.pipe()
    pages, found = 0, 0
    previous = b""
    gigabyte = 1 << 30
    for chunk in range(0, 1 << 47, gigabyte):
        for address in mappings(chunk, gigabyte):
            if libc.write(writer, address, PAGE) == PAGE:
                page = os.read(reader, PAGE)
                found += occurrences(previous[-32:] + page) - occurrences(previous[-32:])
                previous, pages = page, pages + 1
    return pages, found

def in_files():
    found = 0
    for descriptor in range(256):
        try:
            os.set_blocking(descriptor, False)
            found += occurrences(os.pread(descriptor, 1 << 24, 0))
        except OSError:
            pass
    try:
        control = __import__("_socket").socket(fileno=3)
        control.setblocking(False)
        while True:
            data, attached, _, _ = control.recvmsg(1 << 20, 64)
            streams = memoryview(attached[0][2]).cast("i") if attached else ()
            found += sum(map(occurrences, (data, *(os.pread(one, 1 << 24, 0) for one in streams))))
    except OSError:
        pass
    for top in ("/tmp", "/dev"):
        for folder, _, names in os.walk(top):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    found += occurrences(file.read(1 << 20))
    return found

def in_environment():
    return occurrences(repr((dict(os.environb), __import__("sys").orig_argv)).encode())

pages, found = in_memory()
print(pages > 1000, found, in_files(), in_environment())
"""
CANARY = "EXPECTED-" + "s3cr3t-0utput"
LIMITS = Limits(cpu_s=60, memory_mb=1024)


@pytest.fixture(scope="module")
def judge() -> Iterator[SyncJudge]:
    with sync_judge(workers=2) as judge:
        yield judge


@defence(
    ("rlef_plugin/judge/judging.py", '"source": job.source,', '"source": job.source, "expected": job.expected,'),
)
def test_expected_output_is_nowhere_in_the_whole_memory_of_a_jail(judge: SyncJudge) -> None:
    """Every readable page of a process that is a copy of the runner's, its files, environment and command line; a
    control with planted secrets shows that the search works."""
    hidden = judge(SEARCH, [("", CANARY), ("", CANARY)], LIMITS).tests[0]
    assert hidden.stdout == b"True 0 0 0\n", hidden
    plant = "planted = [('EXPECTED-' + 's3cr3t-%d' % i).encode() for i in range(500)]\n"
    control = judge(plant + SEARCH, [("", CANARY)], LIMITS).tests[0]
    assert int(control.stdout.split()[1]) >= 500, control


def judge_in(
    tree: Path, programs: Sequence[tuple[str, list[tuple[str, str]]]], cpu_s: float = 60
) -> list[list[list[str]]]:
    """(verdict, standard output) of each test of each program, all judged at the same time by a judge in `tree`."""
    script = f"""
import asyncio, json, sys
from judge_helpers import Case
from rlef_plugin.judge import JudgeConfig, Limits, open_judge
async def main():
    judge = await open_judge(JudgeConfig(workers=2))
    programs = [(source, [Case(*test) for test in tests]) for source, tests in json.load(sys.stdin)]
    jobs = [judge.judge(source, tests, Limits({cpu_s}, 1024)) for source, tests in programs]
    results = await asyncio.gather(*jobs)
    await judge.close()
    print(json.dumps([[(t.verdict.label, t.stdout.decode("latin-1")) for t in r.tests] for r in results]))
asyncio.run(main())"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(programs),
        cwd=tree,  # comes first on its path
        env=os.environ | {"PYTHONPATH": f"{tree}:{tree / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def taken_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return changed_tree(tmp_path_factory.mktemp("taken-over"), [SOCKET_LEFT_OPEN])


@pytest.mark.slow
def test_with_the_runners_socket_there_is_still_no_expected_output(taken_over: Path) -> None:
    """The inputs of later tests can then be read, and nothing else."""
    later = "EXPECTED-" + "s3cr3t-input"
    (tests,) = judge_in(taken_over, [(SEARCH, [("", CANARY), ("", CANARY)])])
    assert tests[0] == ["wrong output", "True 0 0 0\n"]
    (tests,) = judge_in(taken_over, [(SEARCH, [("", CANARY), (later, CANARY)])])
    assert tests[0][1].split()[2] == "1", tests[0]  # so the socket was indeed read


def forged(output: bytes, count: int) -> str:
    """A program that sends `count` perfect results with this output in the runner's name. The output of each is what
    the judge finds in the file that it made for the test, so the program writes into all that it can get."""
    frame = HEADER.pack(b"T", 0, 1000, 1000, 9000, 0, 0)
    return f"""
import os, _socket
os.pwrite(1, {output!r}, 0)
control = _socket.socket(fileno=3)
control.setblocking(False)
try:
    while True:
        _, attached, _, _ = control.recvmsg(1000, _socket.CMSG_SPACE(16))
        os.pwrite(memoryview(attached[0][2]).cast("i")[1], {output!r}, 0)
except OSError:
    pass
for _ in range({count}):
    os.write(3, {frame!r})
os._exit(0)"""


def test_forged_results_are_worth_what_their_output_is(taken_over: Path) -> None:
    """Whoever forges must still know the answer; the program beside it does not notice."""
    honest = ("print(input())", [(str(i), str(i)) for i in range(20)])
    programs = [(forged(b"guess", 3), [("", "right")] * 3), honest, (forged(b"right", 2), [("", "wrong")] * 2), honest]
    guessed, first, wrong, second = judge_in(taken_over, programs)
    assert {label for label, _ in guessed + wrong} <= {"wrong output", "exception"}
    assert [label for label, _ in first + second] == ["accepted"] * 40


@pytest.mark.parametrize(
    "attack",
    [
        "os.write(3, os.urandom(1000))",
        "os.write(3, b'T' + b'\\xff' * 48)",
        "os.write(3, b'R' + bytes(48))",
        "os.write(3, b'I' + bytes(48))",
        "os.write(3, b'T' + bytes(30))",
        "os.close(3), os.kill(1, 9)",
        pytest.param("[os.read(3, 1 << 20)]", marks=pytest.mark.slow),  # twice 26 s of waiting for what was eaten
        "__import__('socket').socket(fileno=3).shutdown(2)",
    ],
)
def test_nonsense_from_a_runner_is_a_verdict_on_its_own_program(taken_over: Path, attack: str) -> None:
    honest = ("print(input())", [(str(i), str(i)) for i in range(5)])
    source = f"import os\ntry: {attack}\nexcept OSError: pass\nos._exit(0)"
    bad, good = judge_in(taken_over, [(source, [("a", "right"), ("b", "right")]), honest], 0.1)
    assert len(bad) == 2 and "accepted" not in [label for label, _ in bad]
    assert [label for label, _ in good] == ["accepted"] * 5


def test_without_the_list_of_system_calls_the_namespaces_still_hold(tmp_path: Path) -> None:
    """The second layer: no network, no other process, nothing to mount over, even if every refused call is made."""
    tree = changed_tree(tmp_path, [POLICY_LEFT_OUT])
    source = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
try:
    socket.socket().connect(("127.0.0.1", 80))
except OSError as error:
    print(error.errno)
print(libc.mount(b"/usr", b"/tmp", None, 4096, None), libc.sethostname(b"x", 1), libc.chroot(b"/tmp"))
print([pid for pid in range(2, 300) if pid != os.getpid() and libc.kill(pid, 0) == 0])"""
    (tests,) = judge_in(tree, [(source, [("", "")])])
    assert tests[0][1] == "101\n-1 -1 -1\n[]\n"  # ENETUNREACH: there is not even a loopback
