"""Process 1 of a jail: compiles one program, runs it once a test in a forked child, and reports what happened.

It decides nothing. Expected outputs are never sent here, and everything it reports is checked outside, so a program
that takes this process over can spoil its own verdict and no other. What a child gets: file descriptors 0, 1 and 2
(memory files made outside), a fresh `__main__`, its limits. What it does not get: the control socket, or the inputs of
later tests, which stay in that socket until their turn. After a test every process it left is killed.

Only modules compiled into the interpreter are imported (each further one costs CPU time in every jail), except
`resource`, which `wait4` needs anyway. The judge sends `program.py` and then this file (`BOOT` in `config.py`).

In:  length, marshal of `{"scratch", "jailed"}`; then length, marshal of `{"source", "cpu_s", "wall_s", "memory_bytes",
     "output_bytes", "eager", "input_sizes", "input_file", "output_file"}`; then, after C, one input after the other.
Out: frames of nine little-endian 8-byte numbers after a kind byte, then output and error text:
     R ready, C compiled, I not compilable, T one test."""

import _signal
import builtins
import gc
import marshal
import posix
import resource
import sys
import time

from program import (
    CONTROL_FD,
    ERROR_BYTES,
    NAME,
    compile_program,
    give_device_names,
    leave,
    may_act_at_exit,
    prepare,
    run_child,
    start_names,
    warm_up,
)

from __main__ import receive

TYPE_CHECKING = False  # as in `program.py`
if TYPE_CHECKING:
    from types import CodeType

OVERSIZED_OUTPUT_BYTES = 65536  # of an output beyond its limit, its start
FLUSH_BYTES = 32768  # results are sent together until there is this much,
LAZY_S = 0.25  # or the oldest is this old, where all tests are run anyway;
EAGER_S, EAGER_SHARE = 0.004, 0.1  # where a failure ends it: or this old, or this share of the time spent so far
SEEK_SET, SEEK_END = 0, 2
WATCH_S, FAR_WATCH_S = 0.02, 0.2  # how often a running test's clocks are looked at
NEIGHBOURS, FAR_NEIGHBOURS = 64, 512  # process numbers after a program's own that are looked at too: it may have
# started them; the far ones only once it has run for longer than its CPU limit without using that itself
BACKSTOP_CPU_S = 600  # of each process, also this one
SPENT, STOPPED = 1, 2  # flags of a test: the jail must not be used again; the watch ended it


def receive_message() -> dict:
    return marshal.loads(receive(int.from_bytes(receive(8), "little")))


def frame(kind: bytes, output: bytes = b"") -> bytes:
    """Of no test: numbers that are zero, and a text."""
    return kind + bytes(56) + len(output).to_bytes(8, "little") + bytes(8) + output


def send(data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[posix.write(CONTROL_FD, view) :]


class Watch:
    """Ends a test at its CPU or wall limit; driven by a timer, so that a short test costs no system call."""

    def __init__(self, task: dict, jailed: bool) -> None:
        self.cpu_s, self.wall_s = task["cpu_s"], task["wall_s"]
        self.reach = (NEIGHBOURS, FAR_NEIGHBOURS) if jailed else (1, 1)
        self.child = 0
        self.stopped = False
        self.looking = False
        _signal.signal(_signal.SIGALRM, self.ring)
        _signal.setitimer(_signal.ITIMER_REAL, WATCH_S)

    def start(self) -> None:
        self.stopped = False
        self.started = time.monotonic()

    def ring(self, signal_number: int, stack: object) -> None:
        """Never inside itself, however slowly this process runs and whoever sends the signal."""
        if self.looking:
            return
        self.looking = True
        far = self.child and self.look()
        _signal.setitimer(_signal.ITIMER_REAL, FAR_WATCH_S if far else WATCH_S)
        self.looking = False

    def look(self) -> bool:
        """True if it has become likely that others use the CPU for this program, or that it sleeps."""
        elapsed = time.monotonic() - self.started
        far = elapsed > self.cpu_s
        used = sum(map(cpu_seconds, range(self.child, self.child + self.reach[far])))
        if elapsed > self.wall_s or used > self.cpu_s:
            self.stopped = True
            self.kill()
        return far

    def kill(self) -> None:
        try:
            posix.kill(self.child, _signal.SIGKILL)
        except OSError:
            pass  # it has just ended


def cpu_seconds(process: int) -> float:
    try:
        return time.clock_gettime(~process << 3 | 2)  # the clock id of a process, as clock_getcpuclockid(3) makes it
    except OSError:
        return 0.0


def sweep(jailed: bool, child: int) -> float:
    """Kills and reaps all that the child left. Returns the CPU seconds of it."""
    if not jailed:
        try:
            posix.killpg(child, _signal.SIGKILL)
        except OSError:
            pass
    used = 0.0
    try:
        while True:
            process, _, usage = posix.wait4(-1, posix.WNOHANG)
            if not process:
                posix.kill(-1, _signal.SIGKILL) if jailed else None
                _, _, usage = posix.wait4(-1, 0)
            used += usage.ru_utime + usage.ru_stime
    except ChildProcessError:
        return used


def set_limits(task: dict) -> None:
    """Of this process, and so of every child; a program cannot raise them."""
    # One byte more than allowed, so that an output of exactly the limit is seen to fit; room to write the inputs here.
    file_bytes = max(task["output_bytes"] + 1, *task["input_sizes"], 0)
    cpu_s = int(task["cpu_s"]) + BACKSTOP_CPU_S
    resource.setrlimit(resource.RLIMIT_AS, (task["memory_bytes"], task["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))


def empty_scratch(folder: str) -> bool:
    """True if the folder is empty now. A program that makes that hard ends its jail instead (see `main`)."""
    try:
        for name in posix.listdir(folder):
            path = f"{folder}/{name}"
            if posix.lstat(path).st_mode & 0o170000 == 0o040000:
                posix.chmod(path, 0o700)
                empty_scratch(path)
                posix.rmdir(path)
            else:
                posix.unlink(path)
        return True
    except (OSError, ValueError, RecursionError):
        return False


def load_input(data: bytes) -> None:
    posix.ftruncate(0, 0)
    written = posix.pwrite(0, data, 0)
    while written < len(data):
        written += posix.pwrite(0, memoryview(data)[written:], written)
    posix.lseek(0, 0, SEEK_SET)


def make_input_file(data: bytes, path: str) -> None:
    descriptor = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, 0o600)
    posix.write(descriptor, data)
    posix.close(descriptor)


def read_output(descriptor: int, size: int, limit: int) -> bytes:
    """The whole output within its limit, else only its start."""
    return posix.pread(descriptor, size if size <= limit else OVERSIZED_OUTPUT_BYTES, 0)


def read_output_file(path: str, limit: int) -> tuple[int, bytes]:
    """Size and content of a file the program was to write; (0, b"") if it wrote none."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK)
        try:
            size = posix.lseek(descriptor, 0, SEEK_END)
            return size, read_output(descriptor, size, limit)
        finally:
            posix.close(descriptor)
    except OSError:
        return 0, b""


def empty(descriptor: int) -> None:
    posix.ftruncate(descriptor, 0)
    posix.lseek(descriptor, 0, SEEK_SET)


def run_tests(code: "CodeType", task: dict, setup: dict) -> None:
    """Sends a frame a test: status, CPU us, wall us, peak KiB, output size, error size, flags. One function, because
    each object touched between two forks is on some page that is then copied."""
    names = start_names()
    empty(2)  # the dynamic linker may have complained when nsjail started
    jailed, scratch, empty_size = setup["jailed"], setup["scratch"], setup["empty_size"]
    source, limit, sizes, eager = task["source"], task["output_bytes"], task["input_sizes"], task["eager"]
    acts_at_exit = may_act_at_exit(source)
    input_file = task["input_file"] and f"{scratch}/{task['input_file']}"
    output_file = task["output_file"] and f"{scratch}/{task['output_file']}"
    header = bytearray(b"T" + bytes(72))
    fields = memoryview(header)[1:].cast("Q")
    waiting = bytearray()
    watch = Watch(task, jailed)
    warm_up()
    sent_at, started, left = 0.0, time.monotonic(), len(sizes)
    for size in sizes:
        data = receive(size)
        load_input(data)
        if input_file:
            make_input_file(data, input_file)
        watch.start()
        child = posix.fork()
        if not child:
            if not jailed:
                posix.setsid()
            run_child(code, source, names, acts_at_exit)
        watch.child = child
        _, fields[0], usage = posix.wait4(child, 0)
        watch.child = 0
        now = time.monotonic()
        fields[1] = int((usage.ru_utime + usage.ru_stime + sweep(jailed, child)) * 1e6)
        fields[2] = int((now - watch.started) * 1e6)
        fields[3] = usage.ru_maxrss
        output = error = b""
        fields[4] = size = posix.lseek(1, 0, SEEK_END)
        if size:
            output = read_output(1, size, limit)
            empty(1)
        fields[5] = size = posix.lseek(2, 0, SEEK_END)
        if size:
            error = posix.pread(2, ERROR_BYTES, max(0, size - ERROR_BYTES))
            empty(2)
        if output_file:
            fields[4], output = read_output_file(output_file, limit)
        # A tmpfs folder's size counts its entries, so that an ordinary test costs one call here.
        clean = jailed and posix.stat(scratch).st_size == empty_size
        spent = not clean and not empty_scratch(scratch)
        flags = SPENT * spent | STOPPED * watch.stopped
        fields[6], fields[7], fields[8] = flags, len(output), len(error)
        waiting += header
        waiting += output
        waiting += error
        left -= 1
        wait_s = max(EAGER_S, EAGER_SHARE * (now - started)) if eager else LAZY_S
        if spent or not left or len(waiting) > FLUSH_BYTES or now - sent_at > wait_s:
            send(waiting)
            waiting, sent_at = bytearray(), now
        if spent:
            while True:
                receive(1 << 16)  # until the judge closes the socket, see the end of `main`


def main() -> None:
    gc.disable()
    setup = receive_message()
    posix.chdir(setup["scratch"])
    setup["empty_size"] = posix.stat(setup["scratch"]).st_size
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # process 1 ignores what it has no handler for
    sys.set_int_max_str_digits(0)  # the CPU limit bounds it; programs older than that guard print long numbers
    sys.setrecursionlimit(sys.getrecursionlimit() + 6)  # the frames of this file below the program's own
    sys.argv = [NAME]
    builtins.exit = builtins.quit = leave
    send(frame(b"R"))
    task = receive_message()
    set_limits(task)
    code = compile_program(task["source"])
    if isinstance(code, bytes):
        send(frame(b"I", output=code))
        posix._exit(0)
    send(frame(b"C"))
    if b"/dev/std" in task["source"]:
        give_device_names()
    prepare(code)
    del sys.modules["runner"], sys.modules["program"]
    run_tests(code, task, setup)
    posix._exit(0)  # all inputs are read by now: leaving earlier would break the judge's side of the socket
