"""The judged program inside a jail: compiling it, preparing what all its tests share, and one run of it in a child.

Whatever happens in a child stays there: it leaves by `_exit`, with the status the program would have had under plain
CPython, after the same steps (threads joined, `atexit` run, streams flushed). Differences that remain, on purpose:
objects that live at exit are not finalised unless the source hints that this matters, and there are no
site-packages."""

import _signal
import _warnings
import atexit
import builtins
import gc
import posix
import sys

from streams import CONTROL_FD, ERROR_BYTES

TYPE_CHECKING = False  # type checkers take it as true; in a jail, importing `typing` would cost time
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import NoReturn, TextIO

STATUS_NO_MEMORY = 64  # a child whose program dies of MemoryError kills itself with this real-time signal
STATUS_FLUSH_FAILED = 120  # as CPython itself exits when standard output cannot be flushed at the end
NAME = "solution.py"
FRAMES = 8  # of a traceback that are shown at either end
EXITING_OBJECTS = (b"open(", b"Wrapper", b"FileIO", b"Buffered", b"__del__")
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


def compile_program(source: bytes) -> "CodeType | bytes":
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
        return name_file(caught.args[0])
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        return describe_syntax_error(error)
    finally:
        del _warnings.filters[0]
    raise AssertionError("a code object without a first instruction")


def name_file(code: "CodeType") -> "CodeType":
    constants = tuple(name_file(value) if isinstance(value, type(code)) else value for value in code.co_consts)
    return code.replace(co_filename=NAME, co_consts=constants)


def imported_names(code: "CodeType") -> set[str]:
    """Top-level names of the modules that import statements anywhere in `code` name."""
    operations = code.co_code
    found = {
        code.co_names[argument].partition(".")[0]
        for operation, argument in zip(operations[::2], operations[1::2], strict=True)
        if operation == IMPORT_NAME and argument < len(code.co_names)
    }
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            found |= imported_names(constant)
    return found


def prepare(code: "CodeType") -> None:
    """Imports once what every test would import, and keeps the collector away from it in all forks."""
    for name in imported_names(code) & PRELOAD:
        try:
            __import__(name)
        except ImportError:
            pass  # numpy may not be there: each test says so itself
    gc.freeze()
    gc.enable()


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


def describe_exception(error: BaseException, source: bytes) -> bytes:
    """A traceback of the program's own frames only."""
    places, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == NAME:
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


def exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    posix.write(2, str(code).encode("utf-8", "replace")[:ERROR_BYTES] + b"\n")
    return 1


def leave(code: object = None) -> "NoReturn":
    """`exit()` and `quit()`, which an interpreter without `site` lacks."""
    raise SystemExit(code)


def give_device_names(real_open: "Callable[..., object]" = open) -> None:
    """`open('/dev/stdin')` without a /proc to resolve it."""
    numbers = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

    def open_device(file: object, *args: object, **options: object) -> object:
        return real_open(numbers.get(file, file) if isinstance(file, str) else file, *args, **options)

    builtins.open = open_device  # type: ignore[assignment]


def may_act_at_exit(source: bytes) -> bool:
    """Whether objects of the program may have something to do when its names go away."""
    return any(word in source for word in EXITING_OBJECTS)


def start_names() -> dict[str, object]:
    """The namespace of a fresh `__main__`; every child gets its own copy of it."""
    module = sys.modules["__main__"] = type(sys)("__main__")
    names = module.__dict__
    names.update(__name__="__main__", __doc__=None, __package__=None, __loader__=None, __spec__=None)
    names.update(__file__=NAME, __builtins__=builtins)
    return names


def finish(names: dict[str, object], acts_at_exit: bool) -> bool:
    """What CPython does between a program's last line and its exit. False if an output could not be written."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    clean = flush(sys.stdout) & flush(sys.stderr)
    if acts_at_exit:
        names.clear()  # an unclosed file is written when its last name goes away, and `__del__` may print
    flush(sys.__stdout__)
    return clean


def flush(stream: "TextIO | None") -> bool:
    try:
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()
        return True
    except Exception:
        return False


def run_program(code: "CodeType", source: bytes, names: dict[str, object], acts_at_exit: bool) -> int:
    """The exit status; of a program that ran out of memory, nothing comes back."""
    status = 1
    try:
        exec(code, names)
        status = 0
    except SystemExit as error:
        status = exit_status(error.code)
    except MemoryError:
        posix.kill(posix.getpid(), STATUS_NO_MEMORY)
    except BaseException as error:
        posix.write(2, describe_exception(error, source))
    return status if finish(names, acts_at_exit) or status else STATUS_FLUSH_FAILED


def run_child(code: "CodeType", source: bytes, names: dict[str, object], acts_at_exit: bool) -> "NoReturn":
    """Never returns."""
    status = 1
    try:
        posix.close(CONTROL_FD)
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)  # the runner has a handler for it
        status = run_program(code, source, names, acts_at_exit)
    finally:
        posix._exit(status)
