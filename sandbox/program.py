"""The judged program inside a jail: compiling it, preparing what all its tests share, and one run of it in a child.

A run does what `python3 solution.py` does. No frame of ours is above the program's: `BOOT` ends in an exception, so
that the interpreter calls `sys.excepthook` from C, and what stands there (`set_stage`) is made of C functions alone
until the program has ended. Whatever happens in a child stays there: it leaves by `_exit`, with the status the program
would have had under plain CPython, after the same steps (excepthook, threads joined, `atexit` run, streams flushed).
Differences that remain, on purpose, are a table in docs/judge.md: objects that live at exit are not finalised unless
the source hints that this matters, and there are no site-packages."""

import _operator
import _warnings
import _weakref
import atexit
import builtins
import gc
import posix
import sys
from _functools import partial

from streams import ERROR_BYTES

TYPE_CHECKING = False  # type checkers take it as true; in a jail, importing `typing` would cost time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType
    from typing import NoReturn, TextIO

STATUS_NO_MEMORY = 64  # a child whose program dies of MemoryError kills itself with this real-time signal
STATUS_FLUSH_FAILED = 120  # as CPython itself exits when standard output cannot be flushed at the end
NAME = "solution.py"
FRAMES = 8  # of a traceback that are shown at either end
EXITING_OBJECTS = b"open Wrapper FileIO Buffered __del__ yield weakref tempfile exec eval import_ importlib".split()
PRELOAD = frozenset(
    "abc array base64 binascii bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal "
    "enum fractions functools hashlib heapq io itertools json math numbers operator os pprint queue random re signal "
    "stat statistics string struct textwrap threading time traceback types typing unicodedata warnings weakref "
    "zlib numpy".split()
)


def import_something() -> None:
    import sys  # noqa: F401


IMPORT_NAME = import_something.__code__.co_code[6]


def source_line(source: bytes, number: int) -> str:
    lines = source.splitlines()
    return lines[number - 1].decode("utf-8", "replace").strip() if 0 < number <= len(lines) else ""


def describe_syntax_error(error: Exception) -> bytes:
    text = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}\n"
    if isinstance(error, SyntaxError) and error.lineno:
        line = (error.text or "").rstrip("\n")
        caret = " " * max(0, (error.offset or 1) - 1 - (len(line) - len(line.lstrip()))) + "^"
        text = f'  File "{NAME}", line {error.lineno}\n    {line.lstrip()}\n    {caret}\n{text}'
    return text.encode("utf-8", "replace")[:ERROR_BYTES]


class Compiled(Exception):
    """Carries a code object out of `exec`."""


NOWHERE: dict[str, object] = {}  # where a program would run that was not stopped


def catch_code(frame: "FrameType", event: str, argument: object) -> None:
    if frame.f_globals is NOWHERE:  # the parser imports codecs and `unicodedata` when it needs them
        raise Compiled(frame.f_code)


def compile_program(source: bytes, path: str) -> "CodeType | bytes":
    """The code object, or the error's text as bytes. `compile()` first makes all classes of `ast`, which takes longer
    than compiling most programs; `exec` does not, and the trace function stops it before the first instruction."""
    _warnings.filters.insert(0, ("ignore", None, Warning, None, 0))
    try:
        sys.settrace(catch_code)
        try:
            exec(source, NOWHERE)
        finally:
            sys.settrace(None)
    except Compiled as caught:
        return name_file(caught.args[0], path)
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        return describe_syntax_error(error)
    finally:
        del _warnings.filters[0]
    raise AssertionError("a code object without a first instruction")


def all_code(code: "CodeType") -> "list[CodeType]":
    """The code object and all inside it, each before those that it holds. No recursion: sources nest deeply."""
    found = [code]
    for one in found:  # grows meanwhile
        found += [value for value in one.co_consts if isinstance(value, type(code))]
    return found


def name_file(code: "CodeType", path: str) -> "CodeType":
    named: dict[int, CodeType] = {}
    for one in reversed(all_code(code)):
        constants = tuple(named.get(id(value), value) for value in one.co_consts)
        named[id(one)] = one.replace(co_filename=path, co_consts=constants)
    return named[id(code)]


def imported_names(code: "CodeType") -> "Iterator[str]":
    """Top-level names of the modules that import statements anywhere in `code` name."""
    for one in all_code(code):
        operations = one.co_code
        for operation, argument in zip(operations[::2], operations[1::2], strict=True):
            if operation == IMPORT_NAME and argument < len(one.co_names):
                yield one.co_names[argument].partition(".")[0]


def prepare(code: "CodeType", source: bytes, setup: dict) -> None:
    """Imports once what every test would import, and keeps the collector away from it in all forks."""
    sys.argv = [NAME]
    sys.path = [setup["scratch"], *sys.path, *setup["packages"]]
    builtins.exit = builtins.quit = leave  # type: ignore[assignment]
    if b"/dev/std" in source:
        give_device_names()
    for name in PRELOAD.intersection(imported_names(code)):
        try:
            __import__(name)
        except ImportError:
            pass  # numpy may not be there: each test says so itself
    gc.freeze()
    gc.enable()


def start_driver(text: bytes) -> "Callable[[dict[str, object]], object]":
    """Runs a driver (`Judge.run`) and returns what is to be called with the program's names when that has ended. The
    driver keeps builtins of its own, as a program may change those of the module."""
    names: dict[str, object] = {"__name__": "driver", "__builtins__": dict(vars(builtins))}
    exec(text, names)
    return names["after"]  # type: ignore[return-value]


def read_and_print() -> None:
    a, b = map(int, input().split())
    numbers = [int(word) for word in sys.stdin.readline().split()]
    print(a + b, *numbers, f"{a / b:.2f}", sep=" ", end="\n")
    sys.stdin.read()


def warm_up() -> None:
    """Does what nearly every program does, so that the interpreter fills its caches here and not in each child, where
    every page written is a page copied. Leaves the streams as they were."""
    for _ in range(3):
        posix.pwrite(0, b"11 22\n33 44\n5\n", 0)
        read_and_print()
        flush(sys.stdout) & flush(sys.stderr)
        sys.stdin.buffer.seek(0, 2)  # drops what was read ahead
        sys.stdin.seek(0)
        posix.ftruncate(1, 0)
        posix.lseek(1, 0, 0)


def describe_exception(error: BaseException, source: bytes, path: str) -> bytes:
    """A traceback of the program's own frames only."""
    places, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == path:
            places.append((trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    skipped = len(places) - 2 * FRAMES
    lines = [
        f'  File "{NAME}", line {number}, in {name}\n    {source_line(source, number)}'
        for number, name in (places[:FRAMES] + places[-FRAMES:] if skipped > 0 else places)
    ]
    if skipped > 0:
        lines.insert(FRAMES, f"  ... {skipped} more frames ...")
    text = "\n".join(["Traceback (most recent call last):", *lines, describe_error(error)])
    return text.encode("utf-8", "replace") + b"\n"


def describe_error(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        message = str(error)[:2000]
    except Exception:
        message = "<str() of the exception failed>"
    return f"{name}: {message}" if message else name


def leave(code: object = None) -> "NoReturn":
    """`exit()` and `quit()`, which an interpreter without `site` lacks."""
    raise SystemExit(code)


def give_device_names(real_open: "Callable[..., object]" = open) -> None:
    """`open('/dev/stdin')` without a /proc to resolve it."""
    numbers = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

    def open_device(file: object, *args: object, **options: object) -> object:
        return real_open(numbers.get(file, file) if isinstance(file, str) else file, *args, **options)

    builtins.open = open_device  # type: ignore[assignment]


def start_names(path: str) -> dict[str, object]:
    """The namespace of a fresh `__main__`; every child gets its own copy of it."""
    module = sys.modules["__main__"] = type(sys)("__main__")
    names = module.__dict__
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", path)
    names.update(__name__="__main__", __doc__=None, __package__=None, __loader__=loader, __spec__=None)
    names.update(__annotations__={}, __builtins__=builtins, __file__=path, __cached__=None)
    return names


class Ending(_weakref.ref):  # type: ignore[type-arg]
    """Calls `then` when its object goes away; an exception of that goes to `sys.unraisablehook`."""

    __slots__ = ("then",)
    then: "Callable[[], object] | None"


def in_order(calls: list) -> "Callable[[], object]":
    """One callable out of several, without a Python frame."""
    return partial(list, map(_operator.call, calls))


def set_stage(code: "CodeType", source: bytes, path: str, driver: bytes, fork_tests: "Callable[[], None]") -> None:
    """Puts into `sys.excepthook` all that comes after `BOOT`: `fork_tests`, which returns in the children, and then
    what each of them does: the program, and `finish`, which never returns.

    `max` takes the three arguments of a hook and calls the first of all. Clearing `fuse` ends the object that `ending`
    refers to, so the program runs where its exception is caught, and `caught` has it."""
    ended: list[bool] = []
    caught: list = []
    fuse: list[set] = [set()]
    run = _operator.methodcaller("then")
    ending = Ending(fuse[0], run)
    names = start_names(path)
    after = [partial(start_driver(driver), names)] if driver else []
    ending.then = in_order([partial(exec, code, names), *after, partial(ended.append, True)])
    describe = partial(describe_exception, source=source, path=path)
    steps: list = [partial(sys.__dict__.pop, f"last_{name}", None) for name in ("exc", "type", "value", "traceback")]
    steps += [partial(setattr, sys, "excepthook", sys.excepthook)]
    steps += [partial(setattr, sys, "unraisablehook", caught.append), fork_tests]
    steps += [fuse.clear, partial(sys.settrace, None), partial(sys.setprofile, None)]
    steps += [partial(finish, ended, caught, ending, run, describe, any(word in source for word in EXITING_OBJECTS))]
    sys.excepthook = partial(max, in_order(steps), key=_operator.call)
    gc.freeze()


def finish(
    ended: list, caught: list, ending: Ending, run: object, describe: "Callable[..., bytes]", acts_at_exit: bool
) -> "NoReturn":
    """What CPython does between a program's last line and its exit. Of one that ran out of memory, nothing comes."""
    status = 1
    try:
        errors = [one for one in caught if one.object is run]
        if not ended:
            if not errors and sys.unraisablehook == caught.append:
                posix.kill(posix.getpid(), STATUS_NO_MEMORY)  # there was none even to say what happened
            status = end_by(errors[0].exc_value, describe) if errors else 1
        else:
            status = 0
        for one in caught:
            if one.object is not run:
                sys.__unraisablehook__(one)
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
        clean = flush(sys.stdout) & flush(sys.stderr)
        if acts_at_exit:
            errors = one = ending.then = None  # type: ignore[assignment]
            caught.clear()
            sys.modules.pop("__main__", None)
            gc.collect()  # an unclosed file is written when its last name goes away, and `__del__` may print
        flush(sys.__stdout__)
        if "_ctypes" in sys.modules:
            __import__("ctypes").CDLL(None).fflush(None)  # text that the program printed through C
        status = status if clean or status else STATUS_FLUSH_FAILED
    finally:
        posix._exit(status)


def end_by(error: BaseException, describe: "Callable[..., bytes]") -> int:
    """The exit status of a program that ended by an exception."""
    if isinstance(error, MemoryError):
        posix.kill(posix.getpid(), STATUS_NO_MEMORY)
    if isinstance(error, SystemExit):
        return exit_status(error.code)
    if sys.excepthook is sys.__excepthook__:
        posix.write(2, describe(error))
    else:
        sys.excepthook(type(error), error, error.__traceback__)
    return 1


def exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**63) <= code < 2**63 else 0xFF
    posix.write(2, str(code).encode("utf-8", "replace")[:ERROR_BYTES] + b"\n")
    return 1


def flush(stream: "TextIO | None") -> bool:
    try:
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()
        return True
    except Exception:
        return False
