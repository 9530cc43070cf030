"""The judge's server process: a pool of jails started ahead of time, and the jobs that use them.

Started once by `open_judge` as `python -I -S`, so it is small and forks cheaply, whatever the caller has loaded. The
process that is started is a keeper: it waits for the server proper, its child, and ends every jail that a killed
server leaves behind. The server ends when its caller closes the socket or dies.

Messages in:  first the set-up; then ("judge", number, job fields), ("cancel", number) and ("lag", number).
Messages out: ("ready",) or ("fatal", sentence); then (number, "result", fields) or (number, "error", sentence)."""

import asyncio
import ctypes
import marshal
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from rlef_plugin.judge.cgroups import NONE, Cgroups, remove_leftovers, report
from rlef_plugin.judge.jail import JailCommand
from rlef_plugin.judge.judging import Job, help_program, judge_program
from rlef_plugin.judge.process import SERVER_OOM_SCORE, Found, JailProcess, Starter, reserve_descriptors
from rlef_plugin.judge.procfs import Use, read_processes, set_oom_score, thread_delay_s, use_of_jail
from rlef_plugin.judge.verdicts import KILLED, Limits, SandboxError, TestResult, Verdict
from rlef_plugin.judge.wire import pack, read_message

START_PAUSES_S = (0.05, 0.3, 1.0)  # between the tries to start one jail
START_TRIES = 1 + len(START_PAUSES_S)
SHUTDOWN_S = 1.5
WATCH_S = 0.25  # a test that has run for so long is looked at, and as often
LOOK_S = 1.0  # what a look may take
LOOKS_AT_ONCE = 16
LAG_TICK_S = 0.01
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Pool:
    """As many jails ready as there are workers; each is handed out once."""

    def __init__(self, starter: Starter, workers: int) -> None:
        self._starter = starter
        self._workers = workers
        self._starting: deque[asyncio.Task[JailProcess]] = deque()
        self._taken: set[JailProcess] = set()
        self._readers = ThreadPoolExecutor(LOOKS_AT_ONCE, "look")
        self._refill()

    def _refill(self) -> None:
        while len(self._starting) < self._workers:
            self._starting.append(asyncio.create_task(self._start()))

    async def _start(self) -> JailProcess:
        for pause_s in START_PAUSES_S:
            try:
                return await self._starter.start()
            except SandboxError:
                await asyncio.sleep(pause_s)
        return await self._starter.start()

    async def first(self) -> None:
        """Returns when a jail is ready; raises SandboxError if none can be."""
        await asyncio.shield(self._starting[0])

    async def take(self) -> JailProcess:
        """One that waits for a program when this returns, so that none answers for a death before its own start."""
        for _ in range(self._workers + START_TRIES):
            jail = await self._next()
            self._taken.add(jail)
            jail.exited.add_done_callback(lambda _, jail=jail: self._taken.discard(jail))  # type: ignore[misc]
            if jail.idle:
                return jail
            jail.end()
        raise SandboxError(
            "Jails end before they are given a program: look for what kills them, or run `rlef doctor`."
        )

    async def _next(self) -> JailProcess:
        while len(self._starting) and _failed(self._starting[0]):
            self._starting.popleft()  # it failed some time ago; a start that is asked for now may not
        self._refill()
        task = self._starting.popleft()
        self._refill()
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._starting.appendleft(task)
            raise

    async def watch(self) -> None:
        """Gives up jails that have said nothing for too long, and looks at those whose test has run for a while."""
        looks: dict[JailProcess, asyncio.Task[None]] = {}
        while True:
            await asyncio.sleep(WATCH_S)
            now = asyncio.get_running_loop().time()
            for jail in list(self._taken):
                if jail.deadline and now > jail.deadline:
                    jail.fail(TimeoutError("the runner is silent"))
                elif jail.test_started and now > jail.test_started + WATCH_S and jail not in looks:
                    if jail.worth_a_look():
                        looks[jail] = asyncio.create_task(self._look(jail))
            for jail in [jail for jail, look in looks.items() if look.done()]:
                looks.pop(jail).result()

    async def _look(self, jail: JailProcess) -> None:
        """In a thread: a program can make reading of it take as long as it likes, and then ends as if it had too much.
        What is found of one test says nothing about the next."""
        answered, reader = jail.answered, Reader(jail, self._starter.command.jailed)
        reading = asyncio.wrap_future(self._readers.submit(reader.read))
        while not reading.done() and reader.ran_s() < LOOK_S:
            await asyncio.wait([reading], timeout=LOOK_S / 4)
        use = reading.result() if reading.done() else None
        jail.drain()
        if jail.answered != answered or not jail.test_started or jail.ended:
            return
        if use is None:
            jail.fail(Found(Verdict.OUT_OF_MEMORY, f"Adding up what the program holds took more than {LOOK_S:g} s."))
        else:
            jail.consider(use)

    async def end(self) -> None:
        for task in self._starting:
            task.cancel()
        for started in await asyncio.gather(*self._starting, return_exceptions=True):
            if isinstance(started, JailProcess):
                started.end()
        for jail in list(self._taken):
            jail.end()
        if self._starter.alive:
            await asyncio.wait(self._starter.alive, timeout=SHUTDOWN_S)
        self._readers.shutdown(wait=False, cancel_futures=True)


def _failed(start: asyncio.Task[JailProcess]) -> bool:
    return start.done() and not start.cancelled() and start.exception() is not None


class Reader:
    """One look at a jail, in a thread, whose own wait for a core does not count as the program's doing."""

    def __init__(self, jail: JailProcess, jailed: bool) -> None:
        self._arguments = jail.pid, jail.limits.memory_mb * 2**20, jailed
        self._thread, self._started, self._delay_s = 0, 0.0, 0.0

    def read(self) -> Use:
        thread = threading.get_native_id()
        self._delay_s, self._started = thread_delay_s(thread), time.monotonic()
        self._thread = thread
        return use_of_jail(*self._arguments)

    def ran_s(self) -> float:
        """Seconds since it began, less those in which its thread waited for a core."""
        if not self._thread:
            return 0.0
        return time.monotonic() - self._started - (thread_delay_s(self._thread) - self._delay_s)


class Places:
    """Who may run programs: one place a worker. A place that no program wants goes to a helper (judging.py), which
    loses it as soon as a program waits. `Floor` of judging.py."""

    def __init__(self, pool: Pool, workers: int) -> None:
        self.take = pool.take
        self._workers = self._free = workers
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._helpers: list[asyncio.Task[None]] = []
        self._one = asyncio.Lock()  # of who runs alone
        self._resting = 0  # places of programs that wait to run alone
        self._exclusive = False
        self._moved = asyncio.Event()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self._free and not self._waiting and not self._exclusive:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._helpers:
            self._helpers.pop().cancel()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        self._free += 1
        self._moved.set()
        self._next()

    def _next(self) -> None:
        while self._free and self._waiting and not self._exclusive:
            turn = self._waiting.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)

    def help(self, job: Job) -> bool:
        if not self._free or self._waiting or self._exclusive:
            return False
        self._free -= 1
        helper = asyncio.create_task(help_program(job, self))
        job.helpers.add(helper)
        self._helpers.append(helper)
        helper.add_done_callback(partial(self._end_help, job))
        return True

    def _end_help(self, job: Job, helper: asyncio.Task[None]) -> None:
        job.helpers.discard(helper)
        if helper in self._helpers:
            self._helpers.remove(helper)
        job.changed.set()
        self._leave()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """The caller has a place. Programs that wait to run alone as well run nothing meanwhile."""
        self._resting += 1
        self._moved.set()
        async with self._one:
            self._resting -= 1
            self._exclusive = True
            try:
                for helper in self._helpers:
                    helper.cancel()
                while self._free + self._resting < self._workers - 1:
                    self._moved.clear()
                    await self._moved.wait()
                yield
            finally:
                self._exclusive = False
                self._next()


class Server:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._lag: asyncio.Task[None] | None = None
        self._longest_lag_s = 0.0

    async def run(self) -> None:
        setup = await read_message(self._reader)
        cgroups = self._open_cgroups(setup)
        command = JailCommand(**setup["commands"][cgroups is not None])
        self._pool = Pool(Starter(command, compile_runner(*setup["runner"]), cgroups), setup["workers"])
        self._places = Places(self._pool, setup["workers"])
        watch = asyncio.create_task(self._pool.watch())
        watch.add_done_callback(_end_unwatched)
        try:
            await self._pool.first()
            self._send(("ready",))
            while True:
                self._handle(await read_message(self._reader))
        except SandboxError as error:
            self._send(("fatal", str(error)))
        except (EOFError, ConnectionError):
            pass  # the caller is gone
        finally:
            watch.cancel()
            if self._lag:
                self._lag.cancel()
            for task in self._jobs.values():
                task.cancel()
            await asyncio.gather(*self._jobs.values(), return_exceptions=True)
            await self._pool.end()
            if cgroups:
                cgroups.close()

    def _open_cgroups(self, setup: dict) -> Cgroups | None:
        if not setup["commands"][0]["jailed"]:
            return None
        cgroups = Cgroups.open(setup["cgroup"], own=[os.getppid(), setup["caller"]])
        if not cgroups and setup["cgroup"] not in ("", NONE):
            self._send(("fatal", f"rlef.judge.cgroup cannot be used: {report(setup['cgroup']).detail}"))
        return cgroups

    def _handle(self, message: tuple) -> None:
        kind, number, *rest = message
        if kind == "lag":
            self._lag = self._lag or asyncio.create_task(self._measure_lag())
            self._send((number, "result", round(self._longest_lag_s, 4)))
            self._longest_lag_s = 0.0
            return
        if kind == "cancel":
            task = self._jobs.get(number)
            if task:
                task.cancel()
            return
        fields = rest[0]
        job = Job(**fields | {"limits": Limits(*fields["limits"])})
        task = self._jobs[number] = asyncio.create_task(self._answer(number, job))
        task.add_done_callback(lambda _: self._jobs.pop(number))

    async def _answer(self, number: int, job: Job) -> None:
        try:
            async with self._places.place():
                result = await judge_program(job, self._places)
            tests = [test_fields(test) for test in result.tests]
            self._send((number, "result", (int(result.verdict), tests, result.error, result.killed)))
        except SandboxError as error:
            self._send((number, "error", str(error)))
        except Exception as error:  # the border: a fault of the judge must reach the caller that waits
            self._send((number, "error", f"The judge itself failed ({error!r}): please report this."))

    async def _measure_lag(self) -> None:
        """Only when somebody has asked for it: how long the event loop was busy with one thing, at the most."""
        while True:
            asked = asyncio.get_running_loop().time()
            await asyncio.sleep(LAG_TICK_S)
            late_s = asyncio.get_running_loop().time() - asked - LAG_TICK_S
            self._longest_lag_s = max(self._longest_lag_s, late_s)

    def _send(self, message: tuple) -> None:
        if not self._writer.is_closing():
            self._writer.write(pack(message))


def test_fields(test: TestResult) -> tuple:
    """Of plain types, in the order of `TestResult`."""
    numbers = (int(test.verdict), test.cpu_s, test.wall_s, test.peak_memory_mb)
    return *numbers, test.stdout, test.error, test.stdout_bytes


def compile_runner(folder: str, modules: list[str]) -> bytes:
    """What the boot line of a jail expects: (name, code) of each module."""
    paths = [Path(folder) / f"{name}.py" for name in modules]
    code = [compile(path.read_text(), path.name, "exec", dont_inherit=True, optimize=2) for path in paths]
    return marshal.dumps(list(zip(modules, code, strict=True)))


def _end_unwatched(watch: asyncio.Task[None]) -> None:
    """Without its watch a server would wait for ever for some programs: it ends, and its callers are told why."""
    if not watch.cancelled():
        traceback.print_exception(watch.exception())
        sys.stderr.flush()
        os._exit(1)


async def serve(sock: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=sock)
    running = asyncio.create_task(Server(reader, writer).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        pass
    finally:
        writer.transport.abort()


def main(descriptor: int) -> None:
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    server = os.fork()
    if server:
        os.close(descriptor)
        sys.exit(keep(server))
    set_oom_score(SERVER_OOM_SCORE)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three a jail, and two jails a worker
    reserve_descriptors()
    asyncio.run(serve(socket.socket(fileno=descriptor)))


def keep(server: int) -> int:
    """Waits for the server, then ends and reaps whatever jails it left, which this process has adopted. The first
    SIGTERM is passed on to the server; at a second one it still has not ended, and is killed."""
    insist = iter((signal.SIGTERM,))
    signal.signal(signal.SIGTERM, lambda *_: os.kill(server, next(insist, signal.SIGKILL)))
    status = os.waitpid(server, 0)[1]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child, (parent, _) in read_processes().items():
            if parent == os.getpid():
                os.kill(child, number)
        signal.signal(signal.SIGALRM, _stop_waiting)
        signal.alarm(2)
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            break
        except TimeoutError:
            pass
    if status:
        remove_leftovers()
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else KILLED + os.WTERMSIG(status)


def _stop_waiting(*_: object) -> None:
    raise TimeoutError
