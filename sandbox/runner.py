"""Process 1 of a jail: compiles one program, runs it once a test in a forked child, and reports what was measured.

It decides nothing. Expected outputs are never sent here, and everything it reports is checked outside, so a program
that takes this process over can spoil its own verdict and no other. A test's child gets descriptors 0, 1 and 2, which
are memory files that the judge made for this test alone, the program's own namespace, and limits. It does not get the
control socket, a description of a file that another test has, or a frame of this file above its own. The inputs of
later tests stay in the socket until their turn, and nothing that a program writes is read here. After a test every
process it left is killed.

Only modules compiled into the interpreter are imported (each further one costs CPU time in every jail), except
`resource`, which `wait4` needs anyway, and `_socket`, which alone can receive descriptors.

In:  packets: marshal of `{"scratch", "jailed", "packages"}`; one whose descriptor holds the marshal of `{"source",
     "cpu_s", "address_space", "file_bytes", "input_file", "output_file", "driver"}`; one a test, with its streams.
Out: packets of a kind byte and six little-endian numbers of 8 bytes: R ready, C compiled, I not compilable (then a
     text), M no process could be made, T one test: status, CPU us, wall us, peak KiB, flags."""

import _signal
import _thread
import gc
import marshal
import posix
import resource
import sys
import time
from _functools import partial

from program import NAME, compile_program, prepare, set_stage, warm_up
from streams import CONTROL_FD, Scratch, copy_file, fork, frame, read_all, receive, send, write_file
from watch import Watch, sweep

TYPE_CHECKING = False  # as in `program.py`
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

BACKSTOP_CPU_S = 600  # of each process, also this one
STACK_BYTES = 8 * 2**20  # soft limit, and size of a thread's stack, as on stock Linux; a program may raise it
PENDING_SIGNALS = 256  # queued in a jail; more would be taken from what its user may queue in all jails
SPENT, STOPPED = 1, 2  # flags of a test: the jail must not be used again; the watch ended it


def set_limits(task: dict) -> None:
    """Of this process, and so of every child; a program cannot raise them."""
    cpu_s = int(task["cpu_s"]) + BACKSTOP_CPU_S
    if task["address_space"]:
        resource.setrlimit(resource.RLIMIT_AS, (task["address_space"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (task["file_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    stack_bytes = resource.getrlimit(resource.RLIMIT_STACK)[1]  # what the caller has, normally without bounds (-1)
    soft_bytes = STACK_BYTES if stack_bytes < 0 else min(STACK_BYTES, stack_bytes)
    resource.setrlimit(resource.RLIMIT_STACK, (soft_bytes, stack_bytes))
    _thread.stack_size(soft_bytes)  # the C library takes 2 MiB where a process starts without a bound
    signals = min(PENDING_SIGNALS, resource.getrlimit(resource.RLIMIT_SIGPENDING)[1] & 0x7FFFFFFFFFFFFFFF)
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (signals, signals))


def run_tests(task: dict, jailed: bool, scratch: Scratch) -> None:
    """Runs a test for each packet. Returns in a test's child only, with the streams in place. One function, because
    each object touched between two forks is on some page that is then copied."""
    input_file = task["input_file"] and f"{scratch.folder}/{task['input_file']}"
    output_file = task["output_file"] and f"{scratch.folder}/{task['output_file']}"
    watch = Watch(task["cpu_s"], jailed)
    answer = bytearray(b"T" + bytes(48))
    fields = memoryview(answer)[1:].cast("Q")
    while True:
        _, streams = receive()
        if input_file:
            write_file(input_file, read_all(streams[0]))
        watch.stopped, watch.started = False, time.monotonic()
        child = fork()
        if not child:
            take_streams(streams, jailed)
            return
        watch.child = child
        for descriptor in streams[:3]:
            posix.close(descriptor)
        _, fields[0], usage = posix.wait4(child, 0)
        watch.child = 0
        fields[1] = int((usage.ru_utime + usage.ru_stime + sweep(jailed, child)) * 1e6)
        fields[2] = int((time.monotonic() - watch.started) * 1e6)
        fields[3] = usage.ru_maxrss
        if output_file:
            copy_file(output_file, streams[3])
            posix.close(streams[3])
        spent = not scratch.as_it_was() and not scratch.restore()
        fields[4] = SPENT * spent | STOPPED * watch.stopped
        send(answer)
        answer[1:] = bytes(48)  # no later test finds what was measured of this one
        while spent:
            receive()  # until the judge closes the socket


def take_streams(streams: "Sequence[int]", jailed: bool) -> None:
    if not jailed:
        posix.setsid()
    posix.dup2(streams[0], 0)
    posix.dup2(streams[1], 1)
    posix.dup2(streams[2], 2)
    posix.closerange(CONTROL_FD, streams[-1] + 1)
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)  # the runner has a handler for it,
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)  # and a program has one for this


def main(boot: "CodeType") -> None:
    """Returns when all is ready: tests are run when `boot`, the code of `BOOT` in `config.py`, has come to its end."""
    gc.disable()
    setup = marshal.loads(receive()[0])
    posix.chdir(setup["scratch"])
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # process 1 ignores what it has no handler for
    sys.set_int_max_str_digits(0)  # the CPU limit bounds it; programs older than that guard print long numbers
    send(frame(b"R"))
    (descriptor,) = receive()[1]
    task = marshal.loads(read_all(descriptor))
    posix.close(descriptor)
    set_limits(task)
    name = NAME if NAME not in (task["input_file"], task["output_file"]) else f"_{NAME}"
    code = compile_program(task["source"], f"{setup['scratch']}/{name}")
    if isinstance(code, bytes):
        send(frame(b"I") + code)
        posix._exit(0)
    scratch = Scratch(setup["scratch"], name, task["source"])
    posix.ftruncate(2, 0)  # the dynamic linker may have complained when nsjail started
    prepare(code, task["source"], setup)
    for name in ("runner", "streams", "watch", "program"):
        del sys.modules[name]
    warm_up()
    tests = partial(run_tests, task, setup["jailed"], scratch)
    set_stage(code, task["source"], scratch.path, task["driver"], boot, tests)
    send(frame(b"C"))
