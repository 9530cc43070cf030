"""All tests of a program in one process, for `judge.isolation: program`: some 0.05 ms a test instead of a fork.

What this gives up: modules and processes that one test leaves are there in the next, a program can keep the inputs it
has seen, and its memory is measured once for all. So only a test whose output is compared and accepted is final here;
the judge has every other run by `runner.py`. Inputs of later tests are still out of reach."""

import _signal
import builtins
import posix
import resource
import sys

from program import may_act_at_exit, run_program, start_names
from streams import (
    CONTROL_FD,
    SEEK_END,
    empty,
    empty_scratch,
    fork,
    frame_of,
    load_input,
    make_input_file,
    read_error,
    read_output,
    read_output_file,
    send,
)
from watch import Watch, cpu_seconds, sweep

from __main__ import receive

TYPE_CHECKING = False  # as in `program.py`
if TYPE_CHECKING:
    from types import CodeType
    from typing import NoReturn

FLUSH_BYTES, FLUSH_S = 32768, 0.25  # results wait for each other until there is this much, or this long
REPORT_BYTES = 9  # what a process says at the end of a test: its exit status, its peak KiB (it may lie)
STOPPED = 2


def serve_tests(go: int, done: int, code: "CodeType", source: bytes) -> "NoReturn":
    """In the child: one run for each byte that can be read."""
    status, acts_at_exit, first = 1, may_act_at_exit(source), True
    try:
        posix.close(CONTROL_FD)
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
        while posix.read(go, 1):
            if not first:
                open_streams()
            first = False
            status = run_program(code, source, start_names(), acts_at_exit)
            peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            posix.write(done, bytes((status,)) + peak_kib.to_bytes(8, "little"))
    finally:
        posix._exit(status)


def open_streams() -> None:
    """New ones for a program that may have closed or replaced the last ones."""
    options = {"encoding": "utf-8", "closefd": False}
    sys.stdin = sys.__stdin__ = builtins.open(0, errors="surrogateescape", **options)  # type: ignore[call-overload, misc]
    sys.stdout = sys.__stdout__ = builtins.open(1, "w", errors="surrogateescape", **options)  # type: ignore[call-overload, misc]
    sys.stderr = sys.__stderr__ = builtins.open(2, "w", errors="backslashreplace", **options)  # type: ignore[call-overload, misc]


def start_host(code: "CodeType", source: bytes, jailed: bool) -> tuple[int, int, int]:
    """The process, where to write for a test to begin, and where a byte says that it has ended."""
    go, begin = posix.pipe()
    ended, done = posix.pipe()
    host = fork()
    if not host:
        posix.close(begin)
        posix.close(ended)
        if not jailed:
            posix.setsid()
        serve_tests(go, done, code, source)
    posix.close(go)
    posix.close(done)
    return host, begin, ended


def run_shared(code: "CodeType", task: dict, setup: dict) -> None:
    """Sends a frame a test until one fails in a way that is seen here, then frame S: status, CPU us, and peak KiB."""
    scratch, limit, left = setup["scratch"], task["output_bytes"], list(task["input_sizes"])
    host, begin, ended = start_host(code, task["source"], setup["jailed"])
    watch = Watch(task, setup["jailed"])
    waiting, sent_at = bytearray(), 0.0
    going_on = True
    while left and going_on:
        data = receive(left.pop(0))
        load_input(data)
        if task["input_file"]:
            make_input_file(data, f"{scratch}/{task['input_file']}")
        watch.start()
        watch.child, watch.used_before_s = host, cpu_seconds(host)
        try:
            posix.write(begin, b"g")
            said = posix.read(ended, REPORT_BYTES)
        except OSError:
            said = b""
        watch.child = 0
        if len(said) != REPORT_BYTES:
            break
        status, peak_kib = said[0] << 8, int.from_bytes(said[1:], "little")
        used_s, wall_s = cpu_seconds(host) - watch.used_before_s, watch.elapsed_s()
        size, error_size = posix.lseek(1, 0, SEEK_END), posix.lseek(2, 0, SEEK_END)
        output, error = read_output(1, size, limit), read_error(error_size)
        empty(1)
        empty(2)
        if task["output_file"]:
            size, output = read_output_file(f"{scratch}/{task['output_file']}", limit)
        numbers = (status, int(used_s * 1e6), int(wall_s * 1e6), peak_kib, size, error_size, STOPPED * watch.stopped)
        waiting += frame_of(b"T", numbers, output, error)
        failed = watch.stopped or peak_kib > task["memory_kib"] or (status and task["eager"])
        going_on = empty_scratch(scratch, setup["mode"]) and not failed
        if len(waiting) > FLUSH_BYTES or watch.started - sent_at > FLUSH_S:
            send(waiting)
            waiting, sent_at = bytearray(), watch.started
    if left:
        drain(left)
    send(waiting + end_host(host, begin, ended, setup["jailed"]))
    for descriptor in (1, 2):
        empty(descriptor)
    empty_scratch(scratch, setup["mode"])


def drain(sizes: list[int]) -> None:
    """Takes unused inputs off the socket, in a process of its own: the next tests' must not inherit them."""
    child = fork()
    if not child:
        for size in sizes:
            receive(size)
        posix._exit(0)
    posix.wait4(child, 0)


def end_host(host: int, begin: int, ended: int, jailed: bool) -> bytes:
    posix.close(begin)
    posix.close(ended)
    _, status, usage = posix.wait4(host, 0)
    used_s = usage.ru_utime + usage.ru_stime + sweep(jailed, host)
    return frame_of(b"S", (status, int(used_s * 1e6), 0, usage.ru_maxrss, 0, 0, 0), b"", b"")
