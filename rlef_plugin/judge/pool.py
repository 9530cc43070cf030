"""The judge as its caller sees it: `open_judge` starts the server process, `LocalJudge` talks to it.

The caller never forks beyond that one start, never blocks its event loop, and holds no jail itself. One `LocalJudge`
belongs to one event loop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from rlef_plugin.judge.complaints import refuses_host_name
from rlef_plugin.judge.jail import jail_command, sandbox_config, sandbox_folder
from rlef_plugin.judge.procfs import oom_kills
from rlef_plugin.judge.verdicts import KILLED, JudgeConfig, Limits, ProgramResult, SandboxError, TestResult, Verdict
from rlef_plugin.judge.wire import pack, read_message

START_S = 60.0
LOOK_S = 0.25  # between two looks at a server that has not answered yet
KEEPER_S = 1.0  # for the keeper of a dead server to say how it died
IN_FLIGHT_PER_WORKER = 4  # programs sent to the server ahead; more wait here, so that no queue grows without bound
logger = logging.getLogger(__name__)


class Case(Protocol):
    """A test: what goes in, and what must come out. `rlef_plugin.problems.TestCase` is one."""

    @property
    def input(self) -> str: ...
    @property
    def output(self) -> str: ...


class Judge(Protocol):
    """What the rest of the project asks of a judge. Cancelling an awaiting caller frees its jail."""

    async def judge(
        self,
        program: str,
        tests: Sequence[Case],
        limits: Limits,
        *,
        stop_at_failure: bool = False,
        input_file: str | None = None,
        output_file: str | None = None,
    ) -> ProgramResult: ...

    async def run(
        self,
        program: str,
        inputs: Sequence[str],
        limits: Limits,
        *,
        stop_at_failure: bool = False,
        driver: str = "",
    ) -> ProgramResult: ...

    async def close(self) -> None: ...


class LocalJudge:
    """A judge on this machine."""

    def __init__(self, config: JudgeConfig, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._config = config
        self._process = process
        self._errors = errors
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._slots = asyncio.Semaphore(IN_FLIGHT_PER_WORKER * config.worker_count)
        self._number = 0
        self._broken = ""
        self._oom_kills = oom_kills()
        self._reading: asyncio.Task[None] | None = None

    async def judge(
        self,
        program: str,
        tests: Sequence[Case],
        limits: Limits,
        *,
        stop_at_failure: bool = False,
        input_file: str | None = None,
        output_file: str | None = None,
    ) -> ProgramResult:
        """Runs `program` on every test, or until one fails. Problems that read or write a file name it; the folder is
        private and the name must be plain."""
        for name in (input_file, output_file):
            if name and (name != os.path.basename(name) or name in (".", "..")):
                raise ValueError(f"The file name {name!r} of the problem must not contain a folder.")
        expected = [_encode(test.output) for test in tests]
        fields = self._fields(program, [test.input for test in tests], limits.with_room_for(map(len, expected)))
        room = sandbox_config()["SCRATCH_BYTES"]
        if input_file:
            _check_room("An input file", [_encode(test.input) for test in tests], room // 2)
        if output_file:
            _check_room("An output file", expected, room)
        fields |= {"expected": expected, "stop_at_failure": stop_at_failure}
        return await self._ask(fields | {"input_file": input_file or None, "output_file": output_file or None})

    async def run(
        self,
        program: str,
        inputs: Sequence[str],
        limits: Limits,
        *,
        stop_at_failure: bool = False,
        driver: str = "",
    ) -> ProgramResult:
        """The same without comparison: ACCEPTED means a clean run, and `stdout` is kept whole. `driver` is a text that
        runs before the program with names of its own; its `after` gets the program's names when that has ended."""
        fields = self._fields(program, inputs, limits) | {"stop_at_failure": stop_at_failure}
        fields["driver"] = driver.encode()
        return await self._ask(fields | {"expected": None, "kept_stdout_bytes": limits.output_bytes})

    def _fields(self, program: str, inputs: Sequence[str], limits: Limits) -> dict[str, object]:
        return {
            "source": program.encode("utf-8", "surrogatepass"),  # what is no UTF-8 then does not compile
            "inputs": [_encode(text) for text in inputs],
            "limits": (limits.cpu_s, limits.memory_mb, limits.output_bytes),
            "strict_exit": self._config.strict_exit,
            "kept_stdout_bytes": self._config.kept_stdout_bytes,
        }

    async def _ask(self, fields: dict[str, object]) -> ProgramResult:
        async with self._slots:
            if self._broken:
                raise SandboxError(self._broken)
            self._number += 1
            number = self._number
            answer = self._waiting[number] = asyncio.get_running_loop().create_future()
            try:
                self._writer.write(pack(("judge", number, fields)))
                return await answer
            except asyncio.CancelledError:
                self._writer.write(pack(("cancel", number)))
                raise
            finally:
                del self._waiting[number]

    async def loop_lag_s(self) -> float:
        """The longest that the server was busy with one thing since the last call; the first call starts the clock."""
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(pack(("lag", number)))
        try:
            return await answer
        finally:
            del self._waiting[number]

    async def close(self) -> None:
        """Ends the server and every jail; programs still being judged fail with SandboxError."""
        self._break("The judge was closed.")
        if self._reading:
            self._reading.cancel()
        self._writer.transport.abort()
        await asyncio.to_thread(_end_process, self._process)
        self._errors.close()

    @property
    def broken(self) -> str:
        """Why it can judge nothing any more, or ""."""
        return self._broken

    async def connect(self, sock: socket.socket, host_name: bool) -> None:
        """Sends the set-up and waits until the first jail is ready."""
        self._reader, self._writer = await asyncio.open_connection(sock=sock)
        nsjail, unsafe = self._config.nsjail, self._config.unsafe_no_jail
        commands = [asdict(jail_command(nsjail, unsafe, charged, host_name)) for charged in (False, True)]
        runner = (str(sandbox_folder()), list(sandbox_config()["RUNNER_MODULES"]))
        workers = self._config.worker_count
        setup = {"workers": workers, "commands": commands, "runner": runner, "cgroup": self._config.cgroup}
        setup["caller"] = os.getpid()
        self._writer.write(pack(setup))
        kind, *rest = await self._first_message()
        if kind == "fatal":
            raise SandboxError(rest[0])
        self._reading = asyncio.create_task(self._read())

    async def _first_message(self) -> tuple:
        """Waits for it as long as the server lives; a jail that outlives a killed server may hold its socket open."""
        reading = asyncio.create_task(read_message(self._reader))
        try:
            async with asyncio.timeout(START_S):
                while not reading.done() and self._process.poll() is None:
                    await asyncio.wait([reading], timeout=LOOK_S)
                await asyncio.wait([reading], timeout=LOOK_S)  # what a server that has ended said last
            if reading.done():
                return reading.result()
        except TimeoutError:
            raise SandboxError(
                f"No jail was ready within {START_S:g} s ({self._said() or 'the server says nothing'}): look for "
                f"a file system that hangs, or for what stops {self._config.nsjail or 'nsjail'} from going on."
            ) from None
        except (EOFError, ConnectionError) as error:
            raise SandboxError(await self._server_ended()) from error
        finally:
            reading.cancel()
        raise SandboxError(await self._server_ended())

    async def _read(self) -> None:
        try:
            while True:
                number, kind, content = await read_message(self._reader)
                answer = self._waiting.get(number)
                if answer is None or answer.done():
                    continue  # its caller was cancelled
                if kind == "error":
                    answer.set_exception(SandboxError(content))
                else:
                    answer.set_result(_result(content) if isinstance(content, tuple) else content)
        except (EOFError, ConnectionError):
            self._break(await self._server_ended())

    def _break(self, sentence: str) -> None:
        self._broken = self._broken or sentence
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(SandboxError(sentence))

    async def _server_ended(self) -> str:
        """Why: what it said last, or who ended it."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # its keeper ends the jails first
            await asyncio.to_thread(self._process.wait, KEEPER_S)
        status = self._process.poll() or 0
        number = -status if status < 0 else status - KILLED  # the keeper's own end, or the server's as it passes on
        by = f"killed by {signal.Signals(number).name}" if number in signal.valid_signals() else ""
        kills = oom_kills() - self._oom_kills
        memory = f"the kernel has killed {kills} times for want of memory meanwhile" if kills else ""
        why = "; ".join(filter(None, (self._said(), by, memory))) or "it said nothing"
        remedy = ", with more memory for it or a lower rlef.judge.workers" if kills else ""
        return f"The judge's server process ended ({why}): open a new judge{remedy}."

    def _said(self) -> str:
        self._errors.seek(0)
        return " ".join(self._errors.read().decode("utf-8", "replace").split())[-400:]


def _check_room(what: str, contents: Sequence[bytes], room: int) -> None:
    largest = max(map(len, contents), default=0)
    if largest > room:
        raise ValueError(f"{what} of {largest} bytes exceeds the {room} that a jail has: leave that test out.")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _result(content: tuple) -> ProgramResult:
    verdict, tests, error, killed = content
    results = tuple(TestResult(Verdict(test[0]), *test[1:]) for test in tests)
    return ProgramResult(Verdict(verdict), results, error, killed=killed)


def _end_process(keeper: subprocess.Popen[bytes]) -> None:
    """The server has seen its socket close and is ending its jails. If it takes too long it is told to, then killed by
    its keeper, which ends the jails; at last both are killed."""
    for wait_s, insist in (
        (2, keeper.terminate),
        (2, keeper.terminate),
        (6, partial(os.killpg, keeper.pid, signal.SIGKILL)),
    ):
        try:
            keeper.wait(wait_s)
            return
        except subprocess.TimeoutExpired:
            insist()
    keeper.wait()


def _start_server(descriptor: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    package_parent = str(Path(__file__).parents[2])
    start = f"import sys; sys.path.append({package_parent!r})\nfrom rlef_plugin.judge import server\n"
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"{start}server.main({descriptor})"],
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        pass_fds=[descriptor],
        start_new_session=True,  # Ctrl-C ends the caller, whose closed socket then ends the server in order
    )


async def open_judge(config: JudgeConfig | None = None) -> Judge:
    """Starts a judge; returns when its first jail is ready. Raises SandboxError with one sentence if none can be."""
    config = config or JudgeConfig()
    if config.backend == "ray":
        from rlef_plugin.judge.remote import open_ray_judge

        return await open_ray_judge(config)
    if config.unsafe_no_jail:
        logger.warning(
            "UNSAFE: unsafe_no_jail is set, so judged programs run with this user's rights, "
            "without nsjail: they can read, change and send whatever you can."
        )
    try:
        return await _open_local(config)
    except SandboxError as error:
        if not refuses_host_name(str(error)):
            raise
        logger.warning("No jail can have a host name of its own here, so programs see this machine's: %s", error)
        return await _open_local(config, host_name=False)


async def _open_local(config: JudgeConfig, host_name: bool = True) -> Judge:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    errors = tempfile.TemporaryFile()
    judge = LocalJudge(config, _start_server(theirs.fileno(), errors), errors)
    theirs.close()
    try:
        await judge.connect(ours, host_name)
    except BaseException:
        await judge.close()
        raise
    return judge
