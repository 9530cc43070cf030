"""What runs on a node: one local judge, asked for many programs a call, its results handed back as they come.

    request numbers -> tasks on the local judge -> lists of answers, each as soon as something is there

Several callers share it, so a request is known by its caller and its number. An answer is a result, an exception to
raise at the caller, or None for a request that was cancelled. A local judge whose server died is opened anew. Standard
library only; `remote.py` makes a Ray actor of it."""

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from rlef_plugin.judge.check import check_verdicts
from rlef_plugin.judge.patient import LivingJudge
from rlef_plugin.judge.pool import IN_FLIGHT_PER_WORKER, Judge
from rlef_plugin.judge.verdicts import JudgeConfig, Limits, ProgramResult, SandboxError

CANCELLED_AHEAD = 4096  # cancellations kept that arrived before their request, or after its answer
Answer = tuple[int, ProgramResult | Exception | None]
Key = tuple[str, int]


class Pair(NamedTuple):
    """A test that travels."""

    input: str
    output: str


@dataclass(slots=True)
class Request:
    number: int  # of its caller's
    method: str  # of a judge: "judge" or "run"
    program: str
    tests: Any  # tuple of Pair, for `run` of str; or something to await that gives it
    limits: Limits
    options: dict[str, Any]


class BatchJudge:
    """Belongs to one event loop; opens its judge at the first call."""

    def __init__(self, config: JudgeConfig) -> None:
        self._config = config
        self._judge = LivingJudge(config)
        self._checking = asyncio.Lock()
        self._checked: Judge | None = None
        self._running: dict[Key, asyncio.Task[Any]] = {}
        self._cancelled: OrderedDict[Key, None] = OrderedDict()

    async def hello(self) -> int:
        """The number of programs it can use at once. Raises SandboxError if this node judges nothing, or wrongly."""
        judge = await self._judge.get()
        async with self._checking:  # once a judge, however many callers say hello
            if judge is not self._checked:
                await check_verdicts(judge, jailed=not self._config.unsafe_no_jail)
                self._checked = judge
        tried = await judge.run("print(1)", [""], Limits())
        if not tried.accepted:
            raise SandboxError(f"A program that prints 1 ended as {tried.verdict.label}: run `rlef doctor` here.")
        return IN_FLIGHT_PER_WORKER * self._config.worker_count

    async def alive(self) -> None:
        """Returns at once, unless the event loop hangs."""

    async def judge(self, caller: str, batch: list[Request]) -> AsyncIterator[list[Answer]]:
        answers: asyncio.Queue[Answer] = asyncio.Queue()
        for request in batch:
            self._start((caller, request.number), request, answers.put_nowait)
        left = len(batch)
        try:
            while left:
                ready = [await answers.get()]
                while not answers.empty():
                    ready.append(answers.get_nowait())
                left -= len(ready)
                yield ready
        finally:
            if left:  # the caller has gone away
                await self.cancel(caller, [request.number for request in batch])

    async def cancel(self, caller: str, numbers: list[int]) -> None:
        """Frees the jails of these programs. May overtake the call that asked for them."""
        for number in numbers:
            task = self._running.get((caller, number))
            if task is None:
                self._cancelled[caller, number] = None
            else:
                task.cancel()
        while len(self._cancelled) > CANCELLED_AHEAD:
            self._cancelled.popitem(last=False)

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await self._judge.close()

    def _start(self, key: Key, request: Request, answer: Callable[[Answer], None]) -> None:
        if key in self._cancelled:
            return answer((request.number, None))
        task = self._running[key] = asyncio.create_task(self._ask(request))

        def ended(task: asyncio.Task[ProgramResult | Exception]) -> None:
            del self._running[key]
            answer((request.number, None if task.cancelled() else task.result()))

        task.add_done_callback(ended)

    async def _ask(self, request: Request) -> ProgramResult | Exception:
        try:
            judge = await self._judge.get()
            tests = await request.tests if inspect.isawaitable(request.tests) else request.tests
            method: Callable[..., Awaitable[ProgramResult]] = getattr(judge, request.method)
            return await method(request.program, tests, request.limits, **request.options)
        except (SandboxError, ValueError) as error:
            return error
        except Exception as error:  # the border: a fault of the judge must reach the caller that waits
            return SandboxError(f"The judge itself failed ({error!r}): please report this.")
