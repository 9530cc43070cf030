"""Spreading without Ray: links and local judges are scripted, so that loss, delay and order are ours to choose."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from judge_helpers import Case

from rlef_plugin.judge import JudgeConfig, Limits, ProgramResult, SandboxError, Verdict, patient, spread
from rlef_plugin.judge.batch import Answer, BatchJudge, Pair, Request
from rlef_plugin.judge.spread import LinkLost, SpreadJudge, open_spread

TESTS = [Case("1\n", "2\n")]
GOOD = ProgramResult(Verdict.ACCEPTED, ())


async def as_they_are(tests: tuple) -> tuple:
    return tests


class FakeLink:
    """A node that answers when told to, or by `answers` at once; everything sent to it is kept."""

    def __init__(self, name: str, room: int = 2, by_itself: bool = False) -> None:
        self.name, self.room, self.by_itself = name, room, by_itself
        self.batches: list[list[Request]] = []
        self.cancelled: list[int] = []
        self.answered: set[int] = set()
        self.restarts = self.greeted = 0
        self.away = self.silent = self.busy = False
        self.queues: list[asyncio.Queue[list[Answer] | Exception]] = []

    @property
    def programs(self) -> list[str]:
        return [request.program for one in self.batches for request in one]

    async def hello(self) -> int:
        if self.away:
            raise LinkLost(f"{self.name} is away")
        if self.busy:
            self.greeted += 1
            await asyncio.Event().wait()
        return self.room

    async def alive(self) -> None:
        if self.silent:
            await asyncio.Event().wait()

    async def judge(self, requests: list[Request]) -> AsyncIterator[list[Answer]]:
        self.batches.append(requests)
        left, queue = len(requests), asyncio.Queue()
        self.queues.append(queue)
        if self.by_itself:
            queue.put_nowait([(request.number, GOOD) for request in requests])
        while left:
            answers = await queue.get()
            if isinstance(answers, Exception):
                raise answers
            left -= len(answers)
            yield answers

    def cancel(self, numbers: list[int]) -> None:
        self.cancelled += numbers

    def restart(self) -> None:
        self.restarts += 1

    def answer(self, program: str, outcome: Any) -> None:
        for requests, queue in zip(self.batches, self.queues, strict=True):
            for request in requests:
                if request.program == program and request.number not in self.answered:
                    self.answered.add(request.number)
                    queue.put_nowait([(request.number, outcome)])

    def die(self) -> None:
        self.away = True
        for queue in self.queues:
            queue.put_nowait(LinkLost(f"{self.name} died"))


def spread_test(*rooms: int, by_itself: bool = False) -> Callable:
    """Runs an async test with a judge over so many nodes."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        def run(monkeypatch: pytest.MonkeyPatch) -> None:
            monkeypatch.setattr(spread, "RETURN_PAUSE_S", 0.001)
            links = [FakeLink("abc"[place], room, by_itself) for place, room in enumerate(rooms)]

            async def go() -> None:
                judge = await open_spread(links, as_they_are)
                async with asyncio.timeout(20):
                    await test(judge, *links)
                await judge.close()

            asyncio.run(go())

        return run

    return decorate


def ask(judge: SpreadJudge, program: str) -> asyncio.Task[ProgramResult]:
    return asyncio.create_task(judge.judge(program, TESTS, Limits(), stop_at_failure=True))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@spread_test(2, 4)
async def test_what_is_asked_together_goes_in_one_call_a_node_by_room(judge, a, b) -> None:
    tasks = [ask(judge, str(n)) for n in range(9)]
    await settle()
    assert [len(a.batches), len(b.batches)] == [1, 1]
    assert [len(a.programs), len(b.programs)] == [2, 4]  # three wait with their callers
    request = a.batches[0][0]
    assert (request.method, request.tests, request.options) == (
        "judge",
        (Pair("1\n", "2\n"),),
        {"stop_at_failure": True},
    )
    assert a.batches[0][0].tests is a.batches[0][1].tests  # equal tests travel once a call
    a.answer(a.programs[0], GOOD)
    await settle()
    assert [len(a.programs), len(b.programs)] == [3, 4]
    a.by_itself = b.by_itself = True
    for link in (a, b):
        for program in list(link.programs):
            link.answer(program, GOOD)
    assert await asyncio.gather(*tasks) == [GOOD] * 9
    assert sorted(a.programs + b.programs) == sorted(map(str, range(9)))  # none twice


@spread_test(3, 3)
async def test_a_lost_node_s_programs_are_answered_by_another_once(judge, a, b) -> None:
    tasks = [ask(judge, str(n)) for n in range(6)]
    await settle()
    on_a, on_b = list(a.programs), list(b.programs)
    b.answer(on_b[0], GOOD)
    a.answer(on_a[0], GOOD)
    await settle()
    b.by_itself = True
    a.die()
    await settle()
    a.answer(on_a[1], ProgramResult(Verdict.WRONG_OUTPUT, ()))  # too late: it was lost
    for program in on_b[1:]:
        b.answer(program, GOOD)
    assert await asyncio.gather(*tasks) == [GOOD] * 6
    assert sorted(b.programs) == sorted(on_b + on_a[1:])


@spread_test(1)
async def test_a_node_that_comes_back_is_used_again(judge, a) -> None:
    task = ask(judge, "p")
    await settle()
    a.die()
    await settle()
    assert a.programs == ["p"]
    a.by_itself, a.away = True, False
    assert await task == GOOD
    assert a.programs == ["p", "p"]


@spread_test(1, 1)
async def test_a_program_that_no_node_can_judge_is_an_error_after_four_tries(judge, a, b) -> None:
    task = ask(judge, "p")
    for tries in range(1, 5):
        await until(lambda tries=tries: len(a.programs) + len(b.programs) == tries)
        for link in (a, b):
            link.answer("p", SandboxError("disk full"))
    with pytest.raises(SandboxError, match=r"4 tries on [ab], [ab]; the last: disk full"):
        await task


@spread_test(1, by_itself=True)
async def test_all_nodes_away_too_long_is_an_error_until_one_is_back(judge, a) -> None:
    spread_away = spread.AWAY_S
    try:
        spread.AWAY_S = 0.01
        a.by_itself = False
        waiting = ask(judge, "p")
        await settle()
        a.die()
        with pytest.raises(SandboxError, match="All 1 judge nodes were away for 0.01 s; the last said: a died"):
            await waiting
        with pytest.raises(SandboxError, match="away"):
            await ask(judge, "q")
    finally:
        spread.AWAY_S = spread_away
    a.by_itself, a.away = True, False
    await until(lambda: not judge._broken)
    assert await ask(judge, "r") == GOOD


@spread_test(1)
async def test_a_cancelled_caller_frees_its_jail_and_its_place(judge, a) -> None:
    first, second = ask(judge, "first"), ask(judge, "second")
    await settle()
    first.cancel()
    await settle()
    assert a.cancelled == [a.batches[0][0].number] and a.programs == ["first"]
    a.answer("first", None)  # the node says that it is free
    await settle()
    a.answer("second", GOOD)
    assert await second == GOOD


@spread_test(1)
async def test_a_caller_cancelled_while_it_waits_is_never_sent(judge, a) -> None:
    first, second, third = (ask(judge, name) for name in ("first", "second", "third"))
    await settle()
    second.cancel()
    a.by_itself = True
    a.answer("first", GOOD)
    assert await first == await third == GOOD
    assert a.programs == ["first", "third"]


@spread_test(1)
async def test_a_hung_node_is_restarted_and_its_programs_are_retried(judge, a) -> None:
    hurried = pytest.MonkeyPatch()
    hurried.setattr(spread, "SILENT_S", 0.01)
    task = ask(judge, "p")
    await settle()
    a.silent = True
    await judge._ask_alive(judge._nodes[0])
    hurried.undo()
    assert a.restarts == 1
    a.by_itself = True
    assert await task == GOOD


@spread_test(1)
async def test_a_call_that_ends_too_early_or_fails_is_tried_again(judge, a) -> None:
    task = ask(judge, "p")
    await settle()
    a.queues[0].put_nowait([(-1, GOOD)])  # counts as the one answer, and is nobody's
    await settle()
    a.queues[1].put_nowait(TypeError("cannot be pickled"))
    await settle()
    a.answer("p", GOOD)
    assert await task == GOOD and len(a.programs) == 3


@spread_test(1)
async def test_the_caller_s_own_mistake_is_raised_as_it_is_and_not_tried_again(judge, a) -> None:
    task = ask(judge, "p")
    await settle()
    a.answer("p", ValueError("The file name"))
    with pytest.raises(ValueError, match="The file name"):
        await task
    assert a.programs == ["p"]


@spread_test(1)
async def test_closing_fails_what_is_judged_and_frees_jails(judge, a) -> None:
    tasks = [ask(judge, "p"), ask(judge, "q")]
    await settle()
    await judge.close()
    for task in [*tasks, ask(judge, "r")]:
        with pytest.raises(SandboxError, match="closed"):
            await task
    assert a.cancelled == [0]


def test_opening_needs_one_node_and_the_others_come_when_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "RETURN_PAUSE_S", 0.001)

    async def go() -> None:
        here, away = FakeLink("here", by_itself=True), FakeLink("away")
        away.away = True
        judge = await open_spread([away, here], as_they_are)
        assert await ask(judge, "p") == GOOD
        away.away, away.by_itself = False, True
        async with asyncio.timeout(20):
            while not away.programs:
                await asyncio.gather(ask(judge, "q"), ask(judge, "r"), ask(judge, "s"))
                await asyncio.sleep(0.001)
        await judge.close()
        away.away = True
        with pytest.raises(SandboxError, match="None of 1 judge nodes answers; the first said: away is away"):
            await open_spread([away], as_they_are)

    asyncio.run(go())


class FakeJudge:
    """A local judge whose programs end when the test says so."""

    def __init__(self) -> None:
        self.broken = ""
        self.ends: dict[str, asyncio.Future[ProgramResult]] = {}
        self.closed = False

    async def judge(self, program: str, tests: Any, limits: Limits, **options: Any) -> ProgramResult:
        self.ends[program] = asyncio.get_running_loop().create_future()
        return await self.ends[program]

    async def close(self) -> None:
        self.closed = True


def batch_test(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def run(monkeypatch: pytest.MonkeyPatch) -> None:
        judges: list[FakeJudge] = []

        async def open_judge(config: JudgeConfig) -> FakeJudge:
            judges.append(FakeJudge())
            return judges[-1]

        monkeypatch.setattr(patient, "open_judge", open_judge)

        async def go() -> None:
            async with asyncio.timeout(20):
                await test(BatchJudge(JudgeConfig(workers=1)), judges)

        asyncio.run(go())

    return run


def request(number: int) -> Request:
    return Request(number, "judge", str(number), (Pair("", ""),), Limits(), {})


@batch_test
async def test_answers_come_as_programs_end_and_those_that_are_there_together(node, judges) -> None:
    stream = node.judge("me", [request(n) for n in range(3)])
    first = asyncio.ensure_future(anext(stream))
    await settle()
    judges[0].ends["2"].set_result(GOOD)
    assert await first == [(2, GOOD)]
    judges[0].ends["0"].set_result(GOOD)
    judges[0].ends["1"].set_exception(SandboxError("killed"))
    await settle()
    (zero, one) = await anext(stream)
    assert zero == (0, GOOD) and str(one[1]) == "killed"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@batch_test
async def test_cancelling_frees_one_program_of_one_caller_even_ahead_of_it(node, judges) -> None:
    await node.cancel("me", [1])  # overtakes the call
    mine = asyncio.ensure_future(anext(node.judge("me", [request(0), request(1)])))
    other = asyncio.ensure_future(anext(node.judge("other", [request(1)])))
    assert await mine == [(1, None)]
    await settle()
    assert set(judges[0].ends) == {"0", "1"}
    third = asyncio.ensure_future(anext(node.judge("third", [request(0)])))
    await settle()  # its program ends by the newest future of that name
    mine_0 = next(task for key, task in node._running.items() if key == ("me", 0))
    await node.cancel("other", [1])
    await node.cancel("third", [0])
    assert await other == [(1, None)] and await third == [(0, None)]
    assert not mine_0.done()


@batch_test
async def test_a_caller_that_goes_away_frees_its_programs(node, judges) -> None:
    stream = node.judge("me", [request(0), request(1)])
    first = asyncio.ensure_future(anext(stream))
    await settle()
    judges[0].ends["0"].set_result(GOOD)
    await first
    await stream.aclose()
    await settle()
    assert judges[0].ends["1"].cancelled() and not node._running


@batch_test
async def test_a_judge_whose_server_died_is_opened_anew(node, judges) -> None:
    for place in range(2):
        stream = asyncio.ensure_future(anext(node.judge("me", [request(place)])))
        await until(lambda place=place: len(judges) > place and judges[place].ends)
        judges[place].ends[str(place)].set_result(GOOD)
        assert await stream == [(place, GOOD)]
        judges[place].broken = "The judge's server process ended"
    assert judges[0].closed and len(judges) == 2


@pytest.mark.parametrize("silent", [False, True])
def test_a_lost_node_that_is_only_busy_is_not_restarted(monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    """Others' programs go before a hello, for longer than a node may be silent."""
    monkeypatch.setattr(spread, "SILENT_S", 0.01)

    @spread_test(2, 2)
    async def test(judge, a, b) -> None:
        b.by_itself = True
        task = ask(judge, "x")
        await until(lambda: a.programs)
        a.busy, a.silent = True, silent
        a.queues[0].put_nowait(LinkLost("the link broke"))
        await task
        await until(lambda: a.restarts if silent else a.greeted >= 3)
        assert bool(a.restarts) == silent
        a.busy, a.silent, a.by_itself = False, False, True
        await until(lambda: judge._nodes[0].up)
        await asyncio.gather(*(ask(judge, str(n)) for n in range(2)))

    test(monkeypatch)
