"""The judged program inside a jail: compiling it, preparing what all its tests share, and one run of it in a child.

A run does what `python3 solution.py` does; what differs, on purpose, is a table in docs/judge.md. No frame of ours is
above the program's, and no C function of ours either, so that recursion is as deep as there (`set_stage`). Whatever
happens in a child stays there: it leaves by `_exit`, with the status that the program would have had, after the same
steps (excepthook, threads joined, `atexit`, streams flushed)."""

import _io
import _operator
import _warnings
import atexit
import builtins
import gc
import posix
import sys
from _functools import partial
from _signal import SIG_DFL, SIGINT, signal
from _weakref import ref
from itertools import chain, islice

from streams import ERROR_BYTES

TYPE_CHECKING = False  # type checkers take it as true; in a jail, importing `typing` would cost time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from sys import UnraisableHookArgs
    from types import CodeType, FrameType
    from typing import NoReturn, TextIO

STATUS_NO_MEMORY = 64  # a child whose program dies of MemoryError kills itself with this real-time signal
STATUS_FLUSH_FAILED = 120  # as CPython itself exits when standard output cannot be flushed at the end
NAME = "solution.py"
# Words of programs that may have something to do when their objects go away. Others leave without looking for that.
EXITING_WORDS = b"open Wrapper FileIO Buffered detach __del__ yield async weakref tempfile exec eval import_ importlib"
SITE_WORDS = (b"copyright", b"credits", b"license", b"builtins")  # for names that only the site module makes
PRELOAD = frozenset(
    "abc array base64 binascii bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal "
    "enum fractions functools hashlib heapq io itertools json math numbers operator os pprint queue random re signal "
    "stat statistics string struct textwrap threading time traceback types typing unicodedata warnings weakref "
    "zlib numpy".split()
)


def import_something() -> None:
    import sys  # noqa: F401


IMPORT_NAME = import_something.__code__.co_code[6]


def describe_syntax_error(error: Exception, source: bytes, path: str) -> bytes:
    """What the interpreter prints of it. The compiler knows neither the file nor, for some errors, the line."""
    if isinstance(error, SyntaxError) and error.lineno:
        lines = source.decode("utf-8", "replace").splitlines(keepends=True)
        error.filename = path
        error.text = error.text or "".join(lines[error.lineno - 1 : error.lineno])
    real, sys.stderr = sys.stderr, _io.StringIO()
    sys.__excepthook__(type(error), error.with_traceback(None), None)
    text, sys.stderr = sys.stderr.getvalue(), real
    return text.encode("utf-8", "replace")[:ERROR_BYTES]


# The compiler's depth counts from the C functions below it. A source that may be too deep here by a few levels only is
# left to an interpreter of its own, in each test.
RUN_ALONE = """
import posix, sys
flags = ["-s", "-X", "utf8", "-X", "int_max_str_digits=0", __file__.rpartition("/")[2]]
posix.execve(sys.executable, [sys.executable, *flags], {**posix.environ, b"PYTHONPATH": ":".join(sys.path[1:])})
"""


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
    except RecursionError:
        return compile(RUN_ALONE, path, "exec")
    except (SyntaxError, ValueError, OverflowError, MemoryError) as error:
        return describe_syntax_error(error, source, path)
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
    sys.argv, sys.orig_argv = [NAME], [sys.executable, NAME]
    sys.path = [setup["scratch"], *sys.path, *setup["packages"]]
    give_site_names(source)
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


def give_site_names(source: bytes) -> None:
    """The builtins that the site module makes; it does not run, as it takes longer than most programs."""
    import _sitebuiltins

    for name in ("quit", "exit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _sitebuiltins._Helper()  # type: ignore[assignment]
    if any(word in source for word in SITE_WORDS):
        import site

        site.setcopyright()


def give_device_names() -> None:
    """`open('/dev/stdin')` and its like without a /proc to resolve it."""
    numbers = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

    def resolving(real_open: "Callable[..., object]", take: "Callable[..., object]") -> "Callable[..., object]":
        def open_device(file: object, *args: object, **options: object) -> object:
            number = None if isinstance(file, int) else numbers.get(posix.fspath(file))  # type: ignore
            return real_open(file, *args, **options) if number is None else take(posix.dup(number), *args, **options)

        return open_device

    real_open = builtins.open
    builtins.open = _io.open = sys.modules["io"].open = resolving(real_open, real_open)  # type: ignore
    posix.open = resolving(posix.open, lambda number, *_, **__: number)  # type: ignore


def start_names(path: str) -> dict[str, object]:
    """The namespace of a fresh `__main__`; every child gets its own copy of it."""
    module = sys.modules["__main__"] = type(sys)("__main__")
    names = module.__dict__
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", path)
    names.update(__name__="__main__", __doc__=None, __package__=None, __loader__=loader, __spec__=None)
    names.update(__annotations__={}, __builtins__=builtins, __file__=path, __cached__=None)
    return names


class Ending:
    """What happens when the program of this child has ended: what CPython does between its last line and its exit."""

    def __init__(self, names: dict[str, object], acts_at_exit: bool) -> None:
        self.names: dict[str, object] | None = names
        self.acts_at_exit = acts_at_exit
        self.error: BaseException | None = None  # by which it ended
        self.reported = False
        self.status = 0
        self.running = [True]  # empty once the program has come to its last line
        self.traces: list = []  # its trace and profile functions
        self.profiles: list = []
        self.steps: list[Callable[[], object]] = [self.report]
        self.rest = chain(self.untrace(), map(_operator.call, self.steps))  # called from C, one by one

    def catch(self, args: "UnraisableHookArgs") -> None:
        """Is `sys.unraisablehook`, to which comes what nobody else catches."""
        if args.object is not list or not self.running:  # not of one of our two stages
            show_unraisable(args)
        elif self.reported:
            self.end_after(args.exc_value)
        else:
            self.error = args.exc_value
            if isinstance(self.error, MemoryError):
                posix.kill(posix.getpid(), STATUS_NO_MEMORY)

    def report(self) -> None:
        """Says how the program ended, and adds the steps that are left."""
        modules = sys.modules
        plain = not (self.running or self.traces or self.profiles or self.acts_at_exit or atexit._ncallbacks())
        stdout = getattr(sys, "stdout", None)
        if plain and stdout is sys.__stdout__ and "threading" not in modules and "_ctypes" not in modules:
            try:
                sys.stdout.flush()  # type: ignore[union-attr]
                sys.stderr.flush()  # type: ignore[union-attr]
                posix._exit(0)  # the short way: each page of memory that is touched in a child costs a microsecond
            except BaseException:
                pass  # the long way says how
        threads = modules.get("threading")
        self.reported = True
        self.steps += [partial(sys.settrace, trace) for trace in self.traces]
        self.steps += [partial(sys.setprofile, profile) for profile in self.profiles]
        if self.running:
            self.steps += self.say_how(self.error or StopIteration())  # that alone ends `zip` without a word
        self.steps += [threads._shutdown] if threads else []
        self.steps += [atexit._run_exitfuncs, partial(list, self.untrace()), self.leave]

    def untrace(self) -> "Iterator[object]":
        """Takes trace and profile functions away, if there are any, without a frame that they would see."""
        traces = map(self.traces.append, iter(sys.gettrace, None))
        profiles = map(self.profiles.append, iter(sys.getprofile, None))
        no_trace, no_profile = (iter(partial(put, None), 0) for put in (sys.settrace, sys.setprofile))
        return chain(zip(traces, no_trace, strict=False), zip(profiles, no_profile, strict=False))

    def say_how(self, error: BaseException) -> "list[Callable[[], object]]":
        if isinstance(error, SystemExit):
            self.status = exit_status(error)
            return []
        self.status = 1
        trace = error.__traceback__
        while trace and trace.tb_frame.f_globals is not self.names:
            trace = trace.tb_next  # a driver's
        error.__traceback__ = trace
        sys.last_exc, sys.last_type, sys.last_value, sys.last_traceback = error, type(error), error, trace
        return [partial(getattr(sys, "excepthook", sys.__excepthook__), type(error), error, trace)]

    def end_after(self, failed: "BaseException | None") -> None:
        """A step failed, which can only be the program's own `sys.excepthook`."""
        if isinstance(failed, SystemExit):
            self.status = exit_status(failed)
        elif failed and self.error and sys.stderr:
            sys.stderr.write("Error in sys.excepthook:\n")
            sys.__excepthook__(type(failed), failed, failed.__traceback__)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(type(self.error), self.error, self.error.__traceback__)
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
        self.leave()

    def leave(self) -> "NoReturn":
        """Flushes, lets objects go that may act then, and ends the process."""
        interrupted, status = type(self.error) is KeyboardInterrupt, 1
        try:
            clean = flush(getattr(sys, "stdout", None)) & flush(getattr(sys, "stderr", None))
            if self.acts_at_exit:
                self.let_go()
            clean &= flush(getattr(sys, "stdout", None)) & flush(getattr(sys, "stderr", None))
            flush(sys.__stdout__)
            if "_ctypes" in sys.modules:
                __import__("ctypes").CDLL(None).fflush(None)  # text that the program printed through C
            status = self.status if clean else STATUS_FLUSH_FAILED
            if interrupted:
                signal(SIGINT, SIG_DFL)
                posix.kill(posix.getpid(), SIGINT)
        finally:
            posix._exit(status)

    def let_go(self) -> None:
        """An unclosed file is written when its last name goes away, and `__del__` may print. The order is CPython's,
        which collects once while the program's module is still there."""
        gc.collect()
        self.error = self.names = None
        kept.clear()
        self.steps.clear()
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):
            sys.__dict__.pop(name, None)
        sys.modules.pop("__main__", None)
        gc.collect()


show_unraisable = sys.unraisablehook


kept: list[ref] = []  # a reference that is gone calls nothing


def when_it_goes(thing: object, calls: "Iterator[object]") -> None:
    """Has `list` take these calls when the object goes away, by a weak reference that is iterable."""
    stage = type("Stage", (ref,), {"__slots__": (), "__iter__": partial(iter, calls)})  # a partial is no method
    kept.append(stage(thing, list))


def set_stage(
    code: "CodeType", source: bytes, path: str, driver: bytes, boot: "CodeType", fork_tests: "Callable[[], None]"
) -> None:
    """Has `fork_tests` run, and in each child the program, when the code of `BOOT` goes away, which is at its end.

    So no frame and no level of recursion lies above a program. The object is of code because that is freed by itself:
    while one of most other types is freed, what hangs on it in a chain is put off, and so would be all that a program
    drops. `zip` makes its calls one by one, up to the first that fails. The reference made last is called first."""
    names = start_names(path)
    ending = Ending(names, any(word in source for word in EXITING_WORDS.split()))
    sys.unraisablehook = sys.__unraisablehook__ = ending.catch
    function: type = type(set_stage)
    calls: list[Callable[[], object]] = [fork_tests, function(code, names)]
    calls += [partial(start_driver(driver), names)] if driver else []
    calls += [ending.running.pop]
    failing = [partial(setattr, ending, "status", 1), ending.leave]
    when_it_goes(boot, map(_operator.call, failing))  # only if both below have failed,
    when_it_goes(boot, ending.rest)  # and this if the one below has
    when_it_goes(boot, chain(islice(zip(*[iter(call, 0) for call in calls], strict=False), 1), ending.rest))


def exit_status(error: SystemExit) -> int:
    try:
        code = error.code
    except BaseException:  # of a class of the program's
        code = error  # type: ignore[assignment]
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**63) <= code < 2**63 else 0xFF
    try:
        print(code, file=sys.stderr or sys.__stderr__)
    except BaseException:
        pass  # the status says enough
    return 1


def flush(stream: "TextIO | None") -> bool:
    try:
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()
        return True
    except BaseException:
        return False
