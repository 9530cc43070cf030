"""A checker that works the way verl 0.9.1's `prime_code` does, as a reference for cost and for verdicts.

Our own re-creation, so that the benchmark needs no verl (which brings Ray and torch) and copies nothing of it. What it
shares with the original is what costs and what goes wrong: a `multiprocessing.Manager` and one forked child a
submission; in it dangerous functions set to None; the program's lines moved into a function below a prelude of star
imports; every test of the program in that one process, with `sys.stdin` and `open` patched, standard output captured
in a `StringIO` and `signal.alarm` as the clock; the loosest of several comparisons wins. There is no isolation: do not
give it programs you do not trust. `--prime-code FOLDER` of the benchmarks measures verl's own files beside it."""

import ast
import builtins
import faulthandler
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from contextlib import redirect_stdout
from io import StringIO
from types import ModuleType
from typing import Any
from unittest.mock import mock_open, patch

import numpy as np

MODULES = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
).split()
PRELUDE = "".join(f"from {name} import *\n" for name in (*MODULES, "builtins", "typing"))
PRELUDE += "".join(f"import {name}\n" for name in MODULES) + "sys.setrecursionlimit(600000)\n"
FORBIDDEN = {
    os: "kill system putenv remove removedirs rmdir fchdir setuid fork forkpty killpg rename renames truncate replace "
    "unlink fchmod fchown chmod chown chroot lchown getcwd chdir",
    shutil: "rmtree move chown",
    subprocess: "Popen",
    builtins: "exit quit",
}


def check_correctness(pairs: dict, program: str, timeout: int = 10, debug: bool = False) -> tuple[list, Any]:
    """A result for each test up to the first failure: True, False, -1 (raised or too late), -2 (did not load)."""
    manager = multiprocessing.Manager()
    results, notes = manager.list(), manager.list()
    child = multiprocessing.Process(target=run_child, args=(pairs, program, results, notes, timeout))
    child.start()
    child.join(timeout=timeout + 1)
    if child.is_alive():
        child.kill()
    return (list(results)[0] if results else [-1] * len(pairs["inputs"])), notes


def check_as_verl_does(pairs: dict, program: str, timeout: int = 10, debug: bool = False) -> tuple[list, Any]:
    """`compute_score(continuous=True)`, verl's default: a program that fails is run again, test by test, the first ten
    of them, each with a manager and a process of its own."""
    results, notes = check_correctness(pairs, program, timeout, debug)
    if not all(result is True for result in results):
        for given, wanted in list(zip(pairs["inputs"], pairs["outputs"], strict=True))[:10]:
            check_correctness({"inputs": [given], "outputs": [wanted]}, program, timeout, debug)
    return results, notes


def run_child(pairs: dict, program: str, results: list, notes: list, timeout: int) -> None:
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            results.append(run_tests(pairs, program, timeout))
        except Exception:
            traceback.print_exc(10)
            results.append([-1] * len(pairs["inputs"]))
        notes.append({})


def run_tests(pairs: dict, program: str, timeout: int) -> list:
    disarm()
    signal.alarm(timeout)
    try:
        module = sys.modules["tmp_sol"] = ModuleType("tmp_sol")
        exec(compile(PRELUDE + as_function(program), "<string>", "exec"), module.__dict__)
        function = module.code
    except Exception:
        return [-2]
    finally:
        signal.alarm(0)
    found: list = []
    for given, wanted in zip(pairs["inputs"], pairs["outputs"], strict=True):
        faulthandler.enable()
        signal.alarm(timeout)
        with redirect_stdout(StringIO()) as captured:
            captured.close = lambda *_: 1  # type: ignore[method-assign]
            try:
                call(function, given)
            except Exception:
                return [*found, -1]
            finally:
                signal.alarm(0)
        found.append(bool(loosely_equal(captured.getvalue().splitlines(), wanted)))
        if not found[-1]:
            break
    return found


def disarm() -> None:
    faulthandler.disable()
    for module, names in FORBIDDEN.items():
        for name in names.split():
            setattr(module, name, None)
    for name in ("ipdb", "joblib", "resource", "psutil", "tkinter", "subprocess", "ctypes"):
        sys.modules[name] = None  # type: ignore[assignment]


def as_function(program: str) -> str:
    """Imports at the start stay where they are; from the first other line on, all goes into `code()`."""
    try:
        tree = ast.parse(program)
        last = tree.body[-1]
        if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
            program = ast.unparse(tree.body[:-1]) + "\n" + ast.unparse(last.body)  # type: ignore[arg-type]
    except Exception:
        pass
    lines = program.split("\n")
    is_import = [re.match("(from|import) ", line) is not None for line in lines]
    start = is_import.index(False) if False in is_import else len(lines)
    body = "".join(f"\t{line}\n" for line in lines[start:])
    return "\n".join(lines[:start]) + "\nstdin = sys.stdin\nstdout = sys.stdout\ndef code():\n" + body


def call(function: Any, given: str) -> None:
    lines = iter(given.split("\n"))
    with (  # in this order, as in the original: the first three patch the stdin that the fourth replaces
        patch("sys.stdin.read", lambda *_: given),
        patch("sys.stdin.readlines", lambda *_: given.split("\n")),
        patch("sys.stdin.readline", lambda *_: next(lines)),
        patch("sys.stdin", StringIO(given)),
        patch("builtins.open", mock_open(read_data=given)),
    ):
        try:
            function()
        except SystemExit:
            pass


def loosely_equal(lines: list[str], wanted: str) -> bool:
    stripped = [line.strip() for line in lines]
    if wanted.strip() in ("\n".join(lines).strip(), "\n".join(stripped).strip()):
        return True
    expected = [line.strip() for line in wanted.split("\n") if line]
    filled = [line for line in lines if line]
    if expected in (lines, filled):
        return True
    numbers = not all(map(str.isdigit, filled + expected))
    try:
        if (
            numbers
            and len(filled) == len(expected)
            and np.allclose(list(map(float, filled)), list(map(float, expected)))
        ):
            return True
    except ValueError:
        pass
    return False
