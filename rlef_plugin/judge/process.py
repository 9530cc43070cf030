"""One running jail, seen from the server: started ahead of its program, used for one program, ended.

A test's streams are three memory files made here, which the runner gets with the test and this side reads afterwards.
The jail's own descriptors 0, 1 and 2 are such files too, for starting up. Ending a jail means closing its control
socket (an idle runner then leaves) and SIGTERM to nsjail, which kills and reaps what is inside; SIGKILL would leave
that to whoever adopts it."""

import asyncio
import os
import select
import shutil
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rlef_plugin.judge.cgroups import Cgroups, JailCgroup
from rlef_plugin.judge.complaints import explain_failure
from rlef_plugin.judge.jail import CONFIG_FD, LOG_FD, JailCommand, sandbox_config
from rlef_plugin.judge.procfs import Use, set_oom_score
from rlef_plugin.judge.verdicts import Limits, SandboxError, Verdict
from rlef_plugin.judge.wire import Frame, memory_file, pack, unpack

START_S = 20.0  # a jail that is not ready by then is given up
JAIL_OOM_SCORE, SERVER_OOM_SCORE = 1000, 900  # for want of memory jails die first, then their server, then its caller
END_S = 3.0  # nsjail gets this long after SIGTERM
RESERVED_FD = 9  # file descriptors up to here are jail-side numbers, so the server's own must lie above
JAIL_OVERHEAD_BYTES = 64 * 2**20  # of memory, for nsjail and the runner, and what a watch sees too late
CPU_SLACK_S = 2.0  # the runner's own watch comes first, where it can see the process
SILENCE_S = 20.0  # wall seconds a runner may be late beyond a test's own wall limit
PACKET_BYTES = 1 << 16


class Found(Exception):
    """What the watch says of a running test: a verdict, why, and what it measured."""

    def __init__(
        self, verdict: Verdict, reason: str, cpu_s: float = 0.0, wall_s: float = 0.0, memory_bytes: int = 0
    ) -> None:
        super().__init__(reason)
        self.verdict, self.cpu_s, self.wall_s, self.memory_bytes = verdict, cpu_s, wall_s, memory_bytes


class JailProcess:
    """A jail with its control socket. What comes on it is a queue of frames, ended by a failure."""

    def __init__(self, pid: int, exited: asyncio.Future[int], control: socket.socket) -> None:
        self.pid = pid
        self.exited = exited  # its wait status
        self.control = control
        self.cgroup: JailCgroup | None = None
        self.limits = Limits()
        self.deadline = 0.0  # event loop time at which a silent jail is given up; 0 = none
        self.test_started = 0.0  # event loop time at which the running test began; 0 = none runs
        self.answered = 0  # frames that came
        self.cpu_s = 0.0  # of the running test, when it was last looked at
        self._cpu_before_s = -1.0  # of the whole jail, when the running test was first looked at; -1 = not yet
        self.log: tuple[int, ...] = ()  # where ld.so and nsjail write their complaints
        self.scratch: str | None = None
        self._frames: deque[Frame] = deque()
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._looking = False
        self._loop = asyncio.get_running_loop()

    def complaints(self) -> str:
        return "\n".join(os.pread(descriptor, 8192, 0).decode("utf-8", "replace") for descriptor in self.log)

    @property
    def idle(self) -> bool:
        """Whether it waits for its program: it lives, and has nothing to say. The kernel is asked, since the event
        loop may not know yet."""
        if self.exited.done() or self._failure or self._frames or self.ended:
            return False
        control = select.poll()
        control.register(self.control.fileno(), select.POLLIN)
        return not control.poll(0)

    @property
    def ended(self) -> bool:
        return self.control.fileno() < 0

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """One packet. A jail that does not take it is lost, which `receive` then says."""
        try:
            socket.send_fds(self.control, [data], descriptors)
        except OSError as error:
            self._failure = self._failure or EOFError(str(error))

    def send_file(self, content: bytes) -> None:
        descriptor = memory_file("task", content)
        self.send(b"F", [descriptor])
        os.close(descriptor)

    async def receive(self, pause_s: float = 0.0) -> Frame:
        """The next frame, after all that came before it; raises what ended the jail. `pause_s` is how long to look
        away where there is none yet: waking up for each of many short tests costs more than all else here."""
        self.drain()
        if not self._frames and not self._failure:
            self._waiter = self._loop.create_future()
            looking = self._loop.call_later(pause_s, self._look) if pause_s else None
            if not looking:
                self._look()
            try:
                await self._waiter
            finally:
                if looking:
                    looking.cancel()
                self._look_away()
        if self._frames:
            return self._frames.popleft()
        assert self._failure
        raise self._failure

    def _look(self) -> None:
        self._take()
        if self._waiter and not self._waiter.done():
            self._loop.add_reader(self.control.fileno(), self._take)
            self._looking = True

    def _look_away(self) -> None:
        if self._looking:
            self._loop.remove_reader(self.control.fileno())
            self._looking = False

    def watch(self, limits: Limits, bound_bytes: int) -> None:
        """Sets the limits of the program's tests, and those of all its processes together."""
        self.limits = limits
        if self.cgroup:
            self.cgroup.allow(bound_bytes)

    @property
    def most_bytes(self) -> int:
        return self.limits.memory_mb * 2**20 + JAIL_OVERHEAD_BYTES

    def worth_a_look(self) -> bool:
        """Whether the counters of its cgroup, three short reads, leave open that the running test takes too much."""
        if not self.cgroup or self._loop.time() - self.test_started > self.limits.wall_s:
            return True
        cpu_s = self.cgroup.cpu_s
        if self._cpu_before_s < 0:
            self._cpu_before_s = cpu_s
        spent = cpu_s - self._cpu_before_s > self.limits.cpu_s + CPU_SLACK_S
        return spent or not cpu_s or self.cgroup.memory_bytes > self.most_bytes

    def begin_test(self) -> None:
        self._cpu_before_s = -1.0
        self.test_started = self._loop.time()
        self.deadline = self.test_started + self.limits.wall_s + SILENCE_S
        self.cpu_s = 0.0

    def end_test(self) -> None:
        self.deadline = self.test_started = 0.0

    def consider(self, use: Use) -> None:
        """Ends the running test if all its processes together have used too much, or if it sleeps for too long."""
        limits, wall_s = self.limits, self._loop.time() - self.test_started
        self.cpu_s = use.cpu_s
        found: tuple[Verdict, str] | None = None
        if use.memory_bytes > self.most_bytes:
            found = (
                Verdict.OUT_OF_MEMORY,
                f"All processes of the program together took {use.memory_bytes >> 20} MiB.",
            )
        elif self.cpu_s > limits.cpu_s + CPU_SLACK_S:
            found = (Verdict.TIMEOUT, "All processes of the program together took too much CPU time.")
        elif wall_s - use.delay_s > limits.wall_s:
            found = (Verdict.TIMEOUT, "The program did not end, and did not use the time that it had.")
        if found:
            self.fail(Found(*found, self.cpu_s, wall_s, use.memory_bytes))
        elif self.deadline:
            self.deadline = max(self.deadline, self.test_started + limits.wall_s + use.delay_s + SILENCE_S)

    def fail(self, error: Exception) -> None:
        """Makes whoever waits for this jail's next frame stop waiting, once it has taken what is there."""
        self.deadline = self.test_started = 0.0
        self._failure = self._failure or error
        self._wake()

    def drain(self) -> None:
        """Takes what the jail has sent and the event loop has not seen yet."""
        while not self._failure and not self.ended and self._take():
            pass

    def _take(self) -> bool:
        """Whether a packet was there."""
        try:
            packet = self.control.recv(PACKET_BYTES)
            if not packet:
                raise EOFError
            self._frames.append(unpack(packet))
            self.answered += 1
        except BlockingIOError:
            return False
        except (OSError, EOFError, ValueError) as error:
            self._failure = self._failure or (EOFError(str(error)) if isinstance(error, OSError) else error)
        self._wake()
        return True

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self) -> None:
        """Returns at once; may be called twice."""
        if self.ended:
            return
        self._look_away()
        self.control.close()
        for descriptor in self.log:
            os.close(descriptor)
        self.log = ()
        self.signal(signal.SIGTERM)
        self._loop.call_later(END_S, self._insist)
        self.exited.add_done_callback(self._clean_up)

    def _clean_up(self, _: object) -> None:
        if self.cgroup:
            self.cgroup.release()
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _insist(self) -> None:
        if not self.exited.done():
            self.signal(signal.SIGKILL)
            if self.cgroup:
                self.cgroup.kill()

    def signal(self, number: int) -> None:
        if not self.exited.done():  # so it is not reaped yet, and the number is still its own
            os.kill(self.pid, number)


class Starter:
    """Starts jails and reaps every child of this process, known or adopted."""

    def __init__(self, command: JailCommand, runner: bytes, cgroups: Cgroups | None = None) -> None:
        self.command = command
        self.cgroups = cgroups
        self._runner = runner
        self._config = memory_file("config", command.config.encode())
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._spawning = 0
        self._early: dict[int, int] = {}  # meanwhile: wait statuses of children whose numbers are not known here
        self._thread = ThreadPoolExecutor(1, "start")  # a start waits for the kernel, up to 35 ms at two places
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    async def _blocking[T](self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._thread, call)

    @property
    def alive(self) -> list[asyncio.Future[int]]:
        return list(self._exits.values())

    async def start(self) -> JailProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        files = [memory_file(name) for name in ("stdin", "stdout", "stderr", "log")]
        scratch = None if self.command.jailed else tempfile.mkdtemp(prefix="rlef-unsafe-")
        try:
            jail = await self._spawn(ours, theirs.fileno(), files, scratch)
        finally:
            theirs.close()
            os.close(files[0])
            os.close(files[1])
        packages = [sandbox_config()["PACKAGES_ROOT"]] if self.command.jailed else []
        setup = {"scratch": scratch or "/tmp", "jailed": self.command.jailed, "packages": packages}
        jail.send(self._runner)
        jail.send(pack(setup)[8:])
        try:
            async with asyncio.timeout(START_S):
                await jail.receive()
        except (EOFError, ValueError, TimeoutError) as error:
            raise SandboxError(await self._explain(jail, error)) from error
        except BaseException:
            jail.end()
            raise
        return jail

    async def _spawn(self, ours: socket.socket, control: int, files: list[int], scratch: str | None) -> JailProcess:
        """With a cgroup, nsjail waits for its configuration until it is in it, so that all it starts is."""
        cgroup = await self._blocking(self.cgroups.jail) if self.cgroups else None
        config, gate = os.pipe2(os.O_CLOEXEC) if cgroup else (self._config, -1)
        numbers = {files[0]: 0, files[1]: 1, files[2]: 2, control: 3, files[3]: LOG_FD, config: CONFIG_FD}
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in numbers.items()]
        argv, environment = self.command.argv, self.command.environment
        self._spawning += 1
        try:
            pid = await self._blocking(partial(_spawn_with_score, argv, environment, actions))
        except OSError as error:
            for descriptor in (*files[2:], *((config, gate) if cgroup else ())):
                os.close(descriptor)
            ours.close()
            if cgroup:
                cgroup.release()
            raise SandboxError(f"{argv[0]} cannot be started ({error}): reinstall it.") from error
        finally:
            self._spawning -= 1
        exited = self._loop.create_future()
        if pid in self._early:
            exited.set_result(self._early.pop(pid))
        else:
            self._exits[pid] = exited
        if not self._spawning:
            self._early.clear()
        jail = JailProcess(pid, exited, ours)
        jail.log, jail.scratch, jail.cgroup = (files[2], files[3]), scratch, cgroup
        if cgroup:
            await self._enter(jail, cgroup, config, gate)
        return jail

    async def _enter(self, jail: JailProcess, cgroup: JailCgroup, config: int, gate: int) -> None:
        try:
            await self._blocking(partial(cgroup.add, jail.pid))
            os.write(gate, self.command.config.encode())
        except (ProcessLookupError, BrokenPipeError):
            pass  # it has ended, and has said why
        except BaseException as error:
            jail.end()
            if isinstance(error, OSError):
                raise SandboxError(f"A jail cannot be put into its cgroup ({error}): run `rlef doctor`.") from error
            raise
        finally:
            os.close(gate)
            os.close(config)

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
            if exited is None and self._spawning:
                self._early[pid] = status
            elif exited and not exited.done():
                exited.set_result(status)


def _spawn_with_score(argv: tuple[str, ...], environment: dict[str, str], actions: list) -> int:
    """The score is inherited: set afterwards, it may miss what nsjail has forked by then."""
    set_oom_score(JAIL_OOM_SCORE)
    try:
        return os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsid=True)
    finally:
        set_oom_score(SERVER_OOM_SCORE)


def reserve_descriptors() -> None:
    """So that no descriptor opened from now on has a number that a jail uses."""
    while os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) <= RESERVED_FD:
        pass
