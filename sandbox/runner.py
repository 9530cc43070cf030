"""Process 1 of a jail: compiles one program, runs it once a test in a forked child, and reports what happened.

It decides nothing. Expected outputs are never sent here, and everything it reports is checked outside, so a program
that takes this process over can spoil its own verdict and no other. What a child gets: file descriptors 0, 1 and 2
(memory files made outside), a fresh `__main__`, its limits. What it does not get: the control socket, or the inputs of
later tests, which stay in that socket until their turn. After a test every process it left is killed.

Only modules compiled into the interpreter are imported (each further one costs CPU time in every jail), except
`resource`, which `wait4` needs anyway. The judge sends these files, compiled, this one last (`BOOT` in `config.py`).

In:  length, marshal of `{"scratch", "jailed", "packages"}`; then length, marshal of `{"source", "cpu_s", "wall_s",
     "memory_bytes", "memory_kib", "output_bytes", "largest_input", "eager", "at_once", "input_sizes", "input_file",
     "output_file", "shared", "more"}`; then, after C, the inputs. If more is to come: length, marshal of what differs,
     its inputs.
Out: frames of nine little-endian 8-byte numbers after a kind byte, then output and error text:
     R ready, C compiled, I not compilable, T one test, S all tests of a shared process, M no process could be made."""

import _signal
import builtins
import gc
import marshal
import posix
import resource
import sys
import time

from program import (
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
from shared import run_shared
from streams import (
    SEEK_END,
    empty,
    empty_scratch,
    fork,
    frame,
    load_input,
    make_input_file,
    read_error,
    read_output,
    read_output_file,
    send,
)
from watch import Watch, sweep

from __main__ import receive

TYPE_CHECKING = False  # as in `program.py`
if TYPE_CHECKING:
    from types import CodeType

FLUSH_BYTES = 32768  # results are sent together until there is this much,
LAZY_S = 0.25  # or the oldest is this old, where all tests are run anyway;
EAGER_S, EAGER_SHARE = 0.004, 0.1  # where a failure ends it: or this old, or this share of the time spent so far
BACKSTOP_CPU_S = 600  # of each process, also this one
SPENT, STOPPED = 1, 2  # flags of a test: the jail must not be used again; the watch ended it


def receive_message() -> dict:
    return marshal.loads(receive(int.from_bytes(receive(8), "little")))


def set_limits(task: dict) -> None:
    """Of this process, and so of every child; a program cannot raise them."""
    # One byte more than allowed, so that an output of exactly the limit is seen to fit; room to write the inputs here.
    file_bytes = max(task["output_bytes"] + 1, task["largest_input"])
    cpu_s = int(task["cpu_s"]) + BACKSTOP_CPU_S
    resource.setrlimit(resource.RLIMIT_AS, (task["memory_bytes"], task["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))


def run_tests(code: "CodeType", task: dict, setup: dict) -> None:
    """Sends a frame a test: status, CPU us, wall us, peak KiB, output size, error size, flags. One function, because
    each object touched between two forks is on some page that is then copied."""
    names = start_names()
    jailed, scratch, empty_size, mode = (setup[name] for name in ("jailed", "scratch", "empty_size", "mode"))
    source, limit, sizes, eager = task["source"], task["output_bytes"], task["input_sizes"], task["eager"]
    acts_at_exit = may_act_at_exit(source)
    input_file = task["input_file"] and f"{scratch}/{task['input_file']}"
    output_file = task["output_file"] and f"{scratch}/{task['output_file']}"
    header = bytearray(b"T" + bytes(72))
    fields = memoryview(header)[1:].cast("Q")
    waiting = bytearray()
    watch = Watch(task, jailed)
    at_once = task["at_once"]
    sent_at, started, left = 0.0, time.monotonic(), len(sizes)
    for size in sizes:
        data = receive(size)
        load_input(data)
        if input_file:
            make_input_file(data, input_file)
        data = output = error = b""  # or they would count as the child's memory
        watch.start()
        child = fork()
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
            error = read_error(size)
            empty(2)
        if output_file:
            fields[4], output = read_output_file(output_file, limit)
        # A tmpfs folder's size counts its entries, so that an ordinary test costs one call here.
        found = posix.stat(scratch)
        clean = jailed and found.st_size == empty_size and found.st_mode == mode
        clean = clean and not found.st_mtime and not found.st_atime
        spent = not clean and not empty_scratch(scratch, mode)
        flags = SPENT * spent | STOPPED * watch.stopped
        fields[6], fields[7], fields[8] = flags, len(output), len(error)
        waiting += header
        waiting += output
        waiting += error
        left -= 1
        wait_s = min(LAZY_S, max(EAGER_S, EAGER_SHARE * (now - started))) if eager else LAZY_S
        if at_once or spent or not left or len(waiting) > FLUSH_BYTES or now - sent_at > wait_s:
            send(waiting)
            waiting, sent_at = bytearray(), now
        if spent:
            while True:
                receive(1 << 16)  # until the judge closes the socket, see the end of `main`


def main() -> None:
    gc.disable()
    setup = receive_message()
    posix.chdir(setup["scratch"])
    posix.utime(setup["scratch"], (0, 0))  # as after each test: a program could tell a later one something by it
    setup["empty_size"], setup["mode"] = (found := posix.stat(setup["scratch"])).st_size, found.st_mode
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # process 1 ignores what it has no handler for
    sys.set_int_max_str_digits(0)  # the CPU limit bounds it; programs older than that guard print long numbers
    sys.setrecursionlimit(sys.getrecursionlimit() + 6)  # the frames of this file below the program's own
    sys.argv = [NAME]
    sys.path += setup["packages"]
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
    for name in ("runner", "shared", "streams", "watch", "program"):
        del sys.modules[name]
    empty(2)  # the dynamic linker may have complained when nsjail started
    warm_up()
    while True:
        (run_shared if task["shared"] else run_tests)(code, task, setup)
        if not task["more"]:
            posix._exit(0)  # all inputs are read by now: leaving earlier would break the judge's side of the socket
        task |= receive_message()
