"""The judged program inside a jail: compiling it, preparing what all its tests share, and one run of it in a child.

Whatever happens in a child stays there: it leaves by `_exit`, with the status the program would have had under plain
CPython, after the same steps (threads joined, `atexit` run, streams flushed). Differences that remain, on purpose:
objects that live at exit are not finalised unless the source hints that this matters, and there are no
site-packages."""

import _warnings
import atexit
import builtins
import gc
import posix
import sys

TYPE_CHECKING = False  # type checkers take it as true; in a jail, importing `typing` would cost time
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import NoReturn, TextIO

CONTROL_FD = 3
STATUS_NO_MEMORY = 64  # a child whose program dies of MemoryError kills itself with this real-time signal
STATUS_FLUSH_FAILED = 120  # as CPython itself exits when standard output cannot be flushed at the end
ERROR_BYTES = 16384  # of standard error, its end
NAME = "solution.py"
FRAMES = 8  # of a traceback that are shown at either end
IMPORT_NAME = compile("import a", "", "exec").co_code[6]
EXITING_OBJECTS = (b"open(", b"Wrapper", b"FileIO", b"Buffered", b"__del__")
PRELOAD = frozenset(
    "abc array base64 binascii bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal "
    "enum fractions functools hashlib heapq io itertools json math numbers operator os pprint queue random re signal "
    "stat statistics string struct textwrap threading time traceback types typing unicodedata warnings weakref "
    "zlib".split()
)


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


def compile_program(source: bytes) -> "CodeType | bytes":
    """The code object, or the error's text as bytes."""
    _warnings.filters.insert(0, ("ignore", None, Warning, None, 0))
    try:
        return compile(source, NAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        return describe_syntax_error(error)
    finally:
        del _warnings.filters[0]


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
        __import__(name)
    gc.freeze()
    gc.enable()


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


def finish(names: dict[str, object], source: bytes) -> bool:
    """What CPython does between a program's last line and its exit. False if an output could not be written."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    clean = flush(sys.stdout) & flush(sys.stderr)
    if may_act_at_exit(source):
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


def run_child(code: "CodeType", source: bytes, names: dict[str, object]) -> "NoReturn":
    """Never returns."""
    status = 1
    try:
        posix.close(CONTROL_FD)
        try:
            exec(code, names)
            status = 0
        except SystemExit as error:
            status = exit_status(error.code)
        except MemoryError:
            posix.kill(posix.getpid(), STATUS_NO_MEMORY)
        except BaseException as error:
            posix.write(2, describe_exception(error, source))
        if not finish(names, source) and status == 0:
            status = STATUS_FLUSH_FAILED
    finally:
        posix._exit(status)
