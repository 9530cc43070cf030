"""The judge of long work: what fails in the judge itself is asked again, what fails in the program is not."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from judge_helpers import Case, descendants

from rlef_plugin.judge import JudgeConfig, Limits, ProgramResult, SandboxError, Verdict, open_patient_judge, patient
from rlef_plugin.judge.patient import PatientJudge

RIGHT = ProgramResult(Verdict.ACCEPTED, ())


class Failing:
    """A judge that fails its first `times` calls; `broken` as a local judge's whose server has died."""

    def __init__(self, times: float, *, broken: str = "", error: Exception | None = None) -> None:
        self.left, self.broken, self.error = times, broken, error or SandboxError("no jail")
        self.asked, self.closed = 0, False

    async def judge(self, *request: Any, **options: Any) -> ProgramResult:
        self.asked, self.left = self.asked + 1, self.left - 1
        fails = self.left >= 0 or self.broken
        await asyncio.sleep(0)
        if fails:
            raise self.error
        return RIGHT

    run = judge

    async def close(self) -> None:
        self.closed = True


def ask(judge: Any, times: int = 1, patience_s: float = 60) -> list[ProgramResult]:
    return asyncio.run(asking(PatientJudge(JudgeConfig(patience_s=patience_s), judge), times))


async def asking(judge: Any, times: int) -> list[ProgramResult]:
    return await asyncio.gather(*(judge.judge("", [], Limits()) for _ in range(times)))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patient, "LONGEST_PAUSE_S", 0.004)


def test_it_is_asked_until_it_answers_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    judge = Failing(7)
    with caplog.at_level(logging.WARNING):
        assert ask(judge, times=3) == [RIGHT] * 3
    assert judge.asked == 7 + 3
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "The judge fails, and is asked again for 60 s: no jail" and last.startswith("The judge answers")


def test_patience_ends_with_the_error() -> None:
    judge = Failing(float("inf"))
    with pytest.raises(SandboxError, match="no jail"):
        ask(judge, patience_s=0.05)
    assert 5 <= judge.asked <= 50


def test_without_patience_the_first_failure_is_the_callers() -> None:
    judge = Failing(1)
    with pytest.raises(SandboxError, match="no jail"):
        ask(judge, patience_s=0)
    assert judge.asked == 1


def test_what_is_wrong_with_a_request_is_not_asked_again() -> None:
    judge = Failing(9, error=ValueError("a folder in the file name"))
    with pytest.raises(ValueError, match="a folder"):
        ask(judge)
    assert judge.asked == 1


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Failing]]:
    """Says what `open_judge` gives from now on, one after the other; an exception is raised."""

    def gives(*judges: Failing | Exception) -> list[Failing]:
        left, found = list(judges), list[Failing]()

        async def open_judge(config: JudgeConfig) -> Failing:
            await asyncio.sleep(0)
            judge = left.pop(0)
            if isinstance(judge, Exception):
                raise judge
            found.append(judge)
            return judge

        monkeypatch.setattr(patient, "open_judge", open_judge)
        return found

    return gives


def test_a_dead_server_is_replaced_by_one_for_all_who_wait(opened: Callable[..., list[Failing]]) -> None:
    dead, found = Failing(0, broken="it was killed"), opened(SandboxError("no memory"), Failing(0))
    assert ask(dead, times=5) == [RIGHT] * 5
    assert len(found) == 1 and dead.closed and dead.asked == 0


def test_a_closed_judge_is_not_opened_again(opened: Callable[..., list[Failing]]) -> None:
    async def body() -> None:
        judge = PatientJudge(JudgeConfig(), Failing(float("inf"), broken="closed"))  # type: ignore[arg-type]
        await judge.close()
        with pytest.raises(SandboxError):
            await asking(judge, 1)

    found = opened(Failing(0))
    asyncio.run(body())
    assert found == []


@pytest.mark.nsjail
def test_programs_in_flight_outlive_the_server() -> None:
    """It is killed as one of its jails runs a program that takes a while."""

    async def body() -> list[ProgramResult]:
        judge = await open_patient_judge(JudgeConfig(workers=2))
        known = descendants()
        source = "import time\nwhile time.process_time() < 0.3: pass\nprint(input())"
        tasks = [asyncio.create_task(judge.judge(source, [Case("1", "1")], Limits(cpu_s=9))) for _ in range(4)]
        server = next(pid for pid in known if any(name == "nsjail" for name in children(pid)))
        await asyncio.sleep(0)
        os.kill(server, signal.SIGKILL)
        try:
            return await asyncio.gather(*tasks)
        finally:
            await judge.close()

    assert all(result.accepted for result in asyncio.run(body()))


def children(process: int) -> list[str]:
    below = descendants(process)
    deeper = {pid for child in below for pid in descendants(child)}
    return [name for pid, name in below.items() if pid not in deeper]


def test_patience_is_a_number_of_seconds() -> None:
    with pytest.raises(ValueError, match="patience_s is -1, but must be 0 or more"):
        JudgeConfig(patience_s=-1)
