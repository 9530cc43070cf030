"""One judge out of many nodes: who judges what, how much ahead, and again elsewhere when a node is lost.

    judge() -> waiting -> the node with the most room -> one call for all that go there -> answers as they come

Promised: each program gets one answer, from one node (it may have been *run* on another that was lost); a program that
no node could judge in `TRIES` tries, or for which no node was there for `AWAY_S`, raises SandboxError; cancelling an
awaiting caller frees its jail. Nothing is ever judged here instead. What a node has not got room for waits with its
caller, so no queue grows beyond the callers' own number.

Plain asyncio; how a node is reached is a `Link` (`remote.py`). A judge belongs to one event loop."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlef_plugin.judge.batch import Answer, Pair, Request
from rlef_plugin.judge.pool import Case
from rlef_plugin.judge.verdicts import Limits, ProgramResult, SandboxError

TRIES = 4  # of one program
AWAY_S = 180.0  # how long all nodes may be away
RETURN_PAUSE_S = 1.0  # between the questions whether a lost node is back
WATCH_S, SILENT_S = 10.0, 60.0  # how often a node with work is asked whether it lives, and how long it may take


class LinkLost(Exception):
    """A node cannot be reached; it may come back."""


Share = Callable[[tuple], Awaitable[Any]]  # tests -> themselves, or what stands for them in a request


class Link(Protocol):
    """A node from afar. All but `cancel` may raise LinkLost."""

    name: str

    async def hello(self) -> int:
        """Programs it takes ahead. Raises SandboxError if its judge does not start."""
        ...

    async def alive(self) -> None: ...

    def judge(self, batch: list[Request]) -> AsyncIterator[list[Answer]]: ...

    def cancel(self, numbers: list[int]) -> None: ...

    def restart(self) -> None: ...


@dataclass(eq=False, slots=True)
class Ask:
    """A program that waits for its answer."""

    fields: tuple[str, str, Any, Limits, dict[str, Any]]  # of its requests, after the number
    answer: asyncio.Future[ProgramResult]
    lost_on: list["Node"] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Node:
    link: Link
    room: int  # for so many programs ahead
    up: bool = True
    asked: dict[int, Ask] = field(default_factory=dict)

    @property
    def free(self) -> float:
        return 1 - len(self.asked) / self.room


class SpreadJudge:
    """A `Judge`. Make one with `open_spread`."""

    def __init__(self, nodes: list[Node], share: Share) -> None:
        self._nodes = nodes
        self._share = share
        self._waiting: deque[Ask] = deque()
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled: asyncio.Handle | None = None
        self._all_away: asyncio.TimerHandle | None = None
        self._broken = ""  # why nothing can be judged
        self._spawn(self._watch())
        for node in nodes:
            if not node.up:
                self._spawn(self._await_return(node))

    async def judge(self, program: str, tests: Sequence[Case], limits: Limits, **options: Any) -> ProgramResult:
        """As of `LocalJudge`."""
        cases = tuple(Pair(test.input, test.output) for test in tests)
        return await self._ask("judge", program, cases, limits, options)

    async def run(self, program: str, inputs: Sequence[str], limits: Limits, **options: Any) -> ProgramResult:
        return await self._ask("run", program, tuple(inputs), limits, options)

    async def close(self) -> None:
        """Leaves the nodes running; programs still being judged fail with SandboxError, and their jails are freed."""
        self._broken = "The judge was closed."
        for node in self._nodes:
            node.link.cancel(list(node.asked))
            self._waiting += node.asked.values()
        self._fail_waiting(self._broken)
        for handle in (self._all_away, self._scheduled):
            if handle:
                handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, method: str, program: str, tests: tuple, limits: Limits, options: dict) -> ProgramResult:
        shared = await self._share(tests)
        if self._broken:
            raise SandboxError(self._broken)
        ask = Ask((method, program, shared, limits, options), asyncio.get_running_loop().create_future())
        self._waiting.append(ask)
        self._schedule()
        try:
            return await ask.answer
        except asyncio.CancelledError:
            self._free(ask)
            raise

    def _free(self, ask: Ask) -> None:
        for node in self._nodes:
            numbers = [number for number, one in node.asked.items() if one is ask]
            if numbers:
                node.link.cancel(numbers)

    def _schedule(self) -> None:
        """Not at once, so that all that is asked or answered in one turn of the event loop goes in one call."""
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = None
        batches: dict[Node, list[Request]] = {}
        same: dict[Any, Any] = {}  # equal tests become one object, which is pickled once a call
        while self._waiting:
            ask = self._waiting[0]
            node = None if ask.answer.done() else self._node_for(ask)
            if node is None and not ask.answer.done():
                break
            self._waiting.popleft()
            if node is not None:
                method, program, tests, limits, options = ask.fields
                number = next(self._numbers)  # a new one a try: the old one may still be cancelled or answered
                node.asked[number] = ask
                request = Request(number, method, program, same.setdefault(tests, tests), limits, options)
                batches.setdefault(node, []).append(request)
        for node, batch in batches.items():
            self._spawn(self._drive(node, batch))

    def _node_for(self, ask: Ask) -> Node | None:
        up = [node for node in self._nodes if node.up]
        untried = [node for node in up if node not in ask.lost_on]
        best = max(untried or up, key=lambda node: node.free, default=None)
        return best if best and best.free > 0 else None

    async def _drive(self, node: Node, batch: list[Request]) -> None:
        reason = "it left the call without an answer"
        try:
            async for answers in node.link.judge(batch):
                for number, outcome in answers:
                    self._settle(node, number, outcome)
                self._schedule()
        except LinkLost as error:
            if any(request.number in node.asked for request in batch):  # else it was lost before, and may be back
                self._lose(node, str(error))
        except Exception as error:  # the border: a fault of ours must reach the callers that wait
            reason = f"the call failed ({error!r})"
        for request in batch:
            self._settle(node, request.number, SandboxError(reason))

    def _settle(self, node: Node, number: int, outcome: ProgramResult | Exception | None) -> None:
        ask = node.asked.pop(number, None)
        if ask is None or ask.answer.done():
            return  # lost before, and asked of another node; or its caller was cancelled
        if isinstance(outcome, ProgramResult):
            ask.answer.set_result(outcome)
        elif isinstance(outcome, SandboxError) or outcome is None:
            self._again(node, ask, str(outcome))
        else:
            ask.answer.set_exception(outcome)

    def _again(self, node: Node, ask: Ask, reason: str) -> None:
        ask.lost_on.append(node)
        if len(ask.lost_on) < TRIES:
            self._waiting.appendleft(ask)
            self._schedule()
        else:
            names = ", ".join(dict.fromkeys(one.link.name for one in ask.lost_on))
            ask.answer.set_exception(
                SandboxError(f"A program could not be judged in {TRIES} tries on {names}; the last: {reason}")
            )

    def _lose(self, node: Node, reason: str) -> None:
        """Everything the node had goes to others, and it gets nothing until it says hello again."""
        if not node.up:
            return
        node.up = False
        asked, node.asked = node.asked, {}
        for ask in reversed(asked.values()):
            if not ask.answer.done():
                self._again(node, ask, reason)
        if not any(one.up for one in self._nodes):
            sentence = f"All {len(self._nodes)} judge nodes were away for {AWAY_S:g} s; the last said: {reason}"
            self._all_away = asyncio.get_running_loop().call_later(AWAY_S, self._give_up, sentence)
        self._spawn(self._await_return(node))

    def _give_up(self, sentence: str) -> None:
        self._broken = sentence  # until a node is back
        self._fail_waiting(sentence)

    def _fail_waiting(self, sentence: str) -> None:
        while self._waiting:
            ask = self._waiting.popleft()
            if not ask.answer.done():
                ask.answer.set_exception(SandboxError(sentence))

    async def _await_return(self, node: Node) -> None:
        while not node.up:
            await asyncio.sleep(RETURN_PAUSE_S)
            try:
                async with asyncio.timeout(SILENT_S):
                    node.room = await node.link.hello()
                node.up = True
            except TimeoutError:
                await self._restart_if_silent(node)  # else it is busy, and its hello waits behind the others' programs
            except (LinkLost, SandboxError):
                pass
        self._broken = ""
        if self._all_away:
            self._all_away.cancel()
        self._schedule()

    async def _watch(self) -> None:
        """A node that hangs without being dead is noticed by nobody else."""
        while True:
            await asyncio.sleep(WATCH_S)
            busy = [node for node in self._nodes if node.up and node.asked]
            await asyncio.gather(*(self._ask_alive(node) for node in busy))

    async def _ask_alive(self, node: Node) -> None:
        reason = await self._restart_if_silent(node)
        if reason:
            self._lose(node, reason)

    async def _restart_if_silent(self, node: Node) -> str:
        """Why it is lost, or ""."""
        try:
            async with asyncio.timeout(SILENT_S):
                await node.link.alive()
        except TimeoutError:
            node.link.restart()
            return f"{node.link.name} said nothing for {SILENT_S:g} s"
        except LinkLost as error:
            return str(error)
        return ""

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def open_spread(links: Sequence[Link], share: Share) -> SpreadJudge:
    """Raises SandboxError if none of the nodes can judge now; those that cannot may come later."""
    rooms = await asyncio.gather(*(link.hello() for link in links), return_exceptions=True)
    nodes = [
        Node(link, room) if isinstance(room, int) else Node(link, 1, up=False)
        for link, room in zip(links, rooms, strict=True)
    ]
    if not any(node.up for node in nodes):
        raise SandboxError(f"None of {len(nodes)} judge nodes answers; the first said: {rooms[0]}")
    return SpreadJudge(nodes, share)
