"""One running jail, seen from the server: started ahead of its program, used for one program, ended.

The jail's file descriptors 0, 1 and 2 are memory files made here, so that a program reads and writes real files
without being allowed to make memory files itself. Ending a jail means closing its control socket (an idle runner then
leaves)
and SIGTERM to nsjail, which kills and reaps what is inside; SIGKILL would leave that to whoever adopts it."""

import asyncio
import os
import select
import shutil
import signal
import socket
import tempfile
from functools import partial

from rlef_plugin.judge.jail import CONFIG_FD, LOG_FD, JailCommand, explain_failure, sandbox_config
from rlef_plugin.judge.procfs import set_oom_score
from rlef_plugin.judge.verdicts import SandboxError
from rlef_plugin.judge.wire import pack, read_frame

START_S = 20.0  # a jail that is not ready by then is given up
JAIL_OOM_SCORE, SERVER_OOM_SCORE = 1000, 900  # for want of memory jails die first, then their server, then its caller
END_S = 3.0  # nsjail gets this long after SIGTERM
RESERVED_FD = 9  # file descriptors up to here are jail-side numbers, so the server's own must lie above


class CpuSpent(Exception):
    """All processes of a test together have used more CPU time than the runner can have let them by mistake."""


class JailProcess:
    def __init__(self, pid: int, exited: asyncio.Future[int], said: tuple[int, int], scratch: str | None) -> None:
        self.pid = pid
        self.exited = exited  # its wait status
        self.deadline = 0.0  # event loop time at which a silent jail is given up; 0 = none
        self.test_started = 0.0  # event loop time at which its last result came; 0 = none runs
        self.memory_limit_bytes = 0  # of all its processes together
        self.cpu_limit_s = 0.0  # of all its processes together, from when a test is first seen to run
        self.cpu_seen: tuple[float, float] = (0.0, 0.0)  # `test_started` then, and CPU seconds until then
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self._said: tuple[int, ...] = said  # where ld.so and nsjail write their complaints
        self._scratch = scratch

    def complaints(self) -> str:
        return "\n".join(os.pread(descriptor, 8192, 0).decode("utf-8", "replace") for descriptor in self._said)

    def cpu_spent(self, total_s: float) -> bool:
        """Whether the running test has used its CPU limit and more, by `total_s` of the jail until now."""
        if self.cpu_seen[0] != self.test_started:
            self.cpu_seen = self.test_started, total_s
        return total_s - self.cpu_seen[1] > self.cpu_limit_s

    @property
    def idle(self) -> bool:
        """Whether it waits for its program: it lives, and has nothing to say. The kernel is asked, since the event
        loop may not know yet."""
        if self.exited.done() or self.reader.at_eof() or self.writer.is_closing():
            return False
        control = select.poll()
        control.register(self.writer.get_extra_info("socket").fileno(), select.POLLIN)
        return not control.poll(0)

    def fail(self, error: Exception) -> None:
        """Makes whoever waits for this jail's next frame stop waiting."""
        self.deadline = self.test_started = 0.0
        self.reader.set_exception(error)

    def end(self) -> None:
        """Returns at once; may be called twice."""
        if self._said:
            for descriptor in self._said:
                os.close(descriptor)
            self._said = ()
            self.writer.transport.abort()
            self.signal(signal.SIGTERM)
            asyncio.get_running_loop().call_later(END_S, self.signal, signal.SIGKILL)
            if self._scratch:
                self.exited.add_done_callback(partial(_remove, self._scratch))

    def signal(self, number: int) -> None:
        if not self.exited.done():  # so it is not reaped yet, and the number is still its own
            os.kill(self.pid, number)


class Starter:
    """Starts jails and reaps every child of this process, known or adopted."""

    def __init__(self, command: JailCommand, runner: bytes) -> None:
        self.command = command
        self._runner = runner
        self._config = _memory_file("config", command.config.encode())
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    @property
    def alive(self) -> list[asyncio.Future[int]]:
        return list(self._exits.values())

    async def start(self) -> JailProcess:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        files = [_memory_file(name) for name in ("stdin", "stdout", "stderr", "log")]
        scratch = None if self.command.jailed else tempfile.mkdtemp(prefix="rlef-unsafe-")
        try:
            jail = self._spawn(theirs.fileno(), files, scratch)
        finally:
            theirs.close()
            os.close(files[0])
            os.close(files[1])
        jail.reader, jail.writer = await asyncio.open_connection(sock=ours)
        try:
            jail.writer.write(self._runner_message(scratch))
            async with asyncio.timeout(START_S):
                await read_frame(jail.reader, 0)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            raise SandboxError(await self._explain(jail, error)) from error
        except BaseException:
            jail.end()
            raise
        return jail

    def _runner_message(self, scratch: str | None) -> bytes:
        code = len(self._runner).to_bytes(8, "little") + self._runner
        packages = [sandbox_config()["PACKAGES_ROOT"]] if self.command.jailed else []
        return code + pack({"scratch": scratch or "/tmp", "jailed": self.command.jailed, "packages": packages})

    def _spawn(self, control: int, files: list[int], scratch: str | None) -> JailProcess:
        numbers = {files[0]: 0, files[1]: 1, files[2]: 2, control: 3, files[3]: LOG_FD, self._config: CONFIG_FD}
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in numbers.items()]
        argv, environment = self.command.argv, self.command.environment
        set_oom_score(JAIL_OOM_SCORE)  # inherited: set afterwards, it may miss what nsjail has forked by then
        try:
            pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsid=True)
        except OSError as error:
            os.close(files[2])
            os.close(files[3])
            raise SandboxError(f"{argv[0]} cannot be started ({error}): reinstall it.") from error
        finally:
            set_oom_score(SERVER_OOM_SCORE)
        self._exits[pid] = self._loop.create_future()
        return JailProcess(pid, self._exits[pid], (files[2], files[3]), scratch)

    async def _explain(self, jail: JailProcess, error: Exception) -> str:
        status = None
        if not isinstance(error, TimeoutError):
            await asyncio.wait([jail.exited], timeout=1)
            status = jail.exited.result() if jail.exited.done() else None
        sentence = explain_failure(jail.complaints(), status)
        jail.end()
        return sentence

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            exited = self._exits.pop(pid, None)
            if exited and not exited.done():
                exited.set_result(status)


def reserve_descriptors() -> None:
    """So that no descriptor opened from now on has a number that a jail uses."""
    while os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) <= RESERVED_FD:
        pass


def _memory_file(name: str, content: bytes = b"") -> int:
    descriptor = os.memfd_create(name)
    if content:
        os.write(descriptor, content)
    return descriptor


def _remove(folder: str, _: object) -> None:
    shutil.rmtree(folder, ignore_errors=True)
