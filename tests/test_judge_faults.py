"""Parts of the judge that die or fail under it: each ends in a right verdict, after a retry, or in SandboxError within
a bound; never in a wrong verdict, a hang, or something left behind. The server's own death and shutdown while idle are
in test_judge.py; programs that attack are in test_judge_attacks.py."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from judge_helpers import ROOT, Case, descendants

from rlef_plugin.judge import Judge, JudgeConfig, Limits, ProgramResult, SandboxError, open_judge
from rlef_plugin.judge.jail import JailCommand, find_nsjail
from rlef_plugin.judge.process import Starter

pytestmark = pytest.mark.nsjail
BOUND_S = 60  # generous: the machine may be loaded; every wait of the judge's own is seconds
ECHO = "print(input())"
LOOP = "while True: pass"
SPEND = "import time\nwhile time.process_time() < 2: pass\nprint(input())"  # long enough to be seen at work


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    processes, descriptors = set(descendants()), len(os.listdir("/proc/self/fd"))
    yield
    left = {pid: name for pid, name in descendants().items() if pid not in processes}
    assert left == {} and len(os.listdir("/proc/self/fd")) == descriptors


def with_judge[T](action: Callable[[Judge], Awaitable[T]], **config: object) -> T:
    async def body() -> T:
        async with asyncio.timeout(BOUND_S):
            judge = await open_judge(JudgeConfig(**({"workers": 2} | config)))
            try:
                return await action(judge)
            finally:
                await judge.close()

    return asyncio.run(body())


def ask(judge: Judge, source: str, tests: int = 2, cpu_s: float = 10) -> asyncio.Task[ProgramResult]:
    cases = [Case(str(i), str(i)) for i in range(tests)]
    return asyncio.create_task(judge.judge(source, cases, Limits(cpu_s=cpu_s)))


def busy_below(root: int) -> list[int]:
    """Processes below `root` that have used a tenth of a second of CPU time since they were forked for a test."""
    return [pid for pid, name in descendants(root).items() if "python" in name and user_ticks(pid) > 10]


def user_ticks(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
    except OSError:
        return 0


def jails() -> list[int]:
    return [pid for pid, name in descendants().items() if name == "nsjail"]


async def victim_at_work(kind: str) -> int:
    """A jail, its runner, or a test's process, once the test has been running for a while."""
    while True:
        for jail in jails():
            for pid in busy_below(jail):
                for runner in descendants(jail):  # none, if it has ended meanwhile
                    if pid in descendants(runner) or runner == pid:
                        return {"jail": jail, "runner": runner, "test": pid}[kind]
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["jail", "runner", "test"])
def test_whoever_is_killed_once_is_replaced_and_the_verdict_is_right(kind: str) -> None:
    async def action(judge: Judge) -> ProgramResult:
        task = ask(judge, SPEND)
        os.kill(await victim_at_work(kind), signal.SIGKILL)
        return await task

    result = with_judge(action)
    assert [test.verdict.label for test in result.tests] == ["accepted"] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_idle_jails_that_died_cost_the_next_program_nothing(number: signal.Signals) -> None:
    """More of them than a program has tries."""

    async def action(judge: Judge) -> list[ProgramResult]:
        assert (await ask(judge, ECHO)).accepted
        while len(idle := [jail for jail in jails() if descendants(jail)]) < 6:
            await asyncio.sleep(0.01)
        for jail in idle:
            os.kill(jail, number)
        return await asyncio.gather(*(ask(judge, ECHO) for _ in range(6)))

    assert all(result.accepted for result in with_judge(action, workers=6))


def test_a_program_whose_jail_is_killed_at_every_try_has_a_verdict_and_ends_nothing_else() -> None:
    """The canary that is judged after it is right. Where it fails too: tests of the driver, with scripted jails."""

    async def kill_all() -> None:
        while True:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(await victim_at_work("jail"), signal.SIGKILL)

    async def action(judge: Judge) -> ProgramResult:
        killer = asyncio.create_task(kill_all())
        result, neighbour = await asyncio.gather(ask(judge, LOOP, cpu_s=600), ask(judge, ECHO))
        killer.cancel()
        assert neighbour.accepted and (await ask(judge, ECHO)).accepted
        return result

    result = with_judge(action)
    assert result.killed == 1 and [test.verdict.label for test in result.tests] == ["out of memory"] * 2
    assert "known to be right" in result.tests[0].error


def test_the_kernel_would_end_jails_before_their_server() -> None:
    async def action(judge: Judge) -> None:
        assert (await ask(judge, ECHO)).accepted
        task = ask(judge, LOOP, cpu_s=600)
        jail = await victim_at_work("jail")
        server = int(Path(f"/proc/{jail}/stat").read_text().rpartition(")")[2].split()[1])
        scores = [Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in (server, jail, *descendants(jail))]
        assert scores == ["900\n", *["1000\n"] * (len(scores) - 1)] and len(scores) >= 4
        task.cancel()

    with_judge(action)


def test_a_jail_starts_with_its_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its server is off the processor after it has started one: here, until that one has ended."""
    spawn, seen, own = os.posix_spawn, tmp_path / "score", Path("/proc/self/oom_score_adj").read_text()

    def spawn_and_wait(*args: Any, **kwargs: Any) -> int:
        pid = spawn(*args, **kwargs)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    async def start() -> None:
        command = JailCommand(("/bin/cp", "/proc/self/oom_score_adj", str(seen)), "", {}, jailed=False)
        starter = Starter(command, b"")
        with pytest.raises(SandboxError):
            await starter.start()
        os.close(starter._config)  # which a server keeps for as long as it lives

    monkeypatch.setattr(os, "posix_spawn", spawn_and_wait)
    asyncio.run(start())
    server = Path("/proc/self/oom_score_adj")
    assert (seen.read_text(), server.read_text()) == ("1000\n", "900\n")
    server.write_text(own)


# ---- nsjail that fails ----


@pytest.fixture
def failing_nsjail(tmp_path: Path) -> Path:
    """nsjail, but it fails while `broken` beside it exists, and at as many starts as there are folders `fail-N`."""
    program = tmp_path / "nsjail"
    program.write_text(f"""#!/bin/sh
for token in {tmp_path}/fail-*; do
    /bin/rmdir "$token" 2>/dev/null && {{ echo 'mount failed for a while' >&2; exit 255; }}
done
[ -e {tmp_path}/broken ] && {{ echo 'mount failed for a while' >&2; exit 255; }}
exec {find_nsjail()} "$@"
""")
    program.chmod(0o755)
    return program


def test_an_nsjail_that_fails_three_times_is_waited_for(failing_nsjail: Path) -> None:
    for number in range(3):
        (failing_nsjail.parent / f"fail-{number}").mkdir()

    async def action(judge: Judge) -> list[ProgramResult]:
        return await asyncio.gather(*(ask(judge, ECHO) for _ in range(6)))

    assert all(result.accepted for result in with_judge(action, nsjail=str(failing_nsjail), workers=1))


def test_while_nsjail_fails_there_are_errors_and_afterwards_verdicts(failing_nsjail: Path) -> None:
    broken = failing_nsjail.parent / "broken"

    async def action(judge: Judge) -> None:
        broken.touch()
        answers = await asyncio.gather(*(ask(judge, ECHO) for _ in range(12)), return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, SandboxError)]
        assert len(errors) >= 8 and "mount failed for a while" in str(errors[0])
        assert all(answer.accepted for answer in answers if not isinstance(answer, SandboxError))
        broken.unlink()
        while True:  # the tries that were under way may still end badly
            try:
                assert (await ask(judge, ECHO)).accepted
                break
            except SandboxError:
                pass
        assert all(result.accepted for result in await asyncio.gather(*(ask(judge, ECHO) for _ in range(12))))

    with_judge(action, nsjail=str(failing_nsjail))


# ---- a full disk ----

FULL_DISK = """
import asyncio, os, sys
from judge_helpers import Case
from rlef_plugin.judge import JudgeConfig, Limits, SandboxError, open_judge
fill = os.open(os.environ["TMPDIR"] + "/full", os.O_WRONLY | os.O_CREAT)
try:
    while True: os.write(fill, bytes(4096))
except OSError as error:
    assert error.errno == 28
async def main():
    judge = await open_judge(JudgeConfig(workers=2))
    tests = [Case("x" * 10**6, "x" * 10**6)] * 3
    programs = ["print(input())", "open('/tmp/own', 'w').write('y' * 10**6); print(input())", "1 / 0", "("] * 5
    jobs = [judge.judge(program, tests, Limits(10, 256)) for program in programs]
    print(*[result.verdict.label.replace(" ", "-") for result in await asyncio.gather(*jobs)])
    await judge.close()
try:
    asyncio.run(main())
except SandboxError as error:
    print("SandboxError:", error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small /tmp in a namespace of its own needs root")
def test_a_full_disk_changes_no_verdict(tmp_path: Path) -> None:
    """The judge writes nothing to disk; a jail's /tmp is not the machine's."""
    full = tmp_path if ROOT.is_relative_to("/tmp") else Path("/tmp")  # not over the checkout itself
    mount = f'mount -t tmpfs -o size=64k tmpfs {full} && exec {sys.executable} -c "$0"'
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, FULL_DISK],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TMPDIR": str(full)},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    assert run.stdout.split() == ["accepted", "accepted", "exception", "invalid-code"] * 5, run


# ---- callers that leave ----


def test_cancelled_callers_leave_nothing_running() -> None:
    async def action(judge: Judge) -> None:
        tasks = [ask(judge, LOOP, cpu_s=600) for _ in range(40)]
        await victim_at_work("test")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await ask(judge, ECHO)).accepted  # both workers were to be busy for 20 minutes
        while any(busy_below(jail) for jail in jails()):
            await asyncio.sleep(0.01)

    with_judge(action)


def test_closing_ends_bombs_in_flight_within_two_seconds() -> None:
    bombs = [
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "import os\nfor _ in range(20): os.fork() or b'x' * (30 << 20)\nwhile True: pass",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(9)",
        LOOP,
    ]

    async def action(judge: Judge) -> float:
        tasks = [ask(judge, bomb, cpu_s=60) for bomb in bombs * 8]
        await victim_at_work("test")
        started = time.monotonic()
        await judge.close()
        seconds = time.monotonic() - started
        assert {type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)} == {SandboxError}
        return seconds

    assert with_judge(action, workers=4) < 2


def test_closing_a_judge_whose_server_is_stuck_ends_it_and_its_jails() -> None:
    """A stopped process is deaf to SIGTERM, as one is in which the interpreter never comes back from a call."""

    async def action(judge: Judge) -> None:
        task = ask(judge, LOOP, cpu_s=600)
        jail = await victim_at_work("jail")
        server = int(Path(f"/proc/{jail}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(server, signal.SIGSTOP)
        started = set(descendants())
        await judge.close()
        assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
        await asyncio.gather(task, return_exceptions=True)

    with_judge(action)
