"""LiveCodeBench's code generation: programs that read and write, and methods of a class `Solution`, in one store.

Meant for evaluation; stores are built by `rlef data build` from its files (problems/livecodebench.py).

Its own harness (lcb_runner/evaluation/testing_util.py) puts imports before every program: all names of some modules,
the modules themselves, and a recursion limit of 50,000. Models rely on it, and so do starters, which write `List[int]`
without an import. So it stands before programs here too, as one line that is not counted in what the model is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rlef_plugin.env.code import FILE_NAME
from rlef_plugin.env.functions import FunctionEnv
from rlef_plugin.judge.verdicts import ProgramResult
from rlef_plugin.problems.records import Problem, TestCase

_MODULES = (  # in the harness's order: where two have a name, the later one's counts
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
)
_ALL_NAMES = "; ".join(f"from {module} import *" for module in (*_MODULES, "builtins", "typing"))
HEADER = f"{_ALL_NAMES}; import {', '.join(_MODULES)}; sys.setrecursionlimit(50000)"
_FUTURE = re.compile(r"(?m)^from __future__ import [\w, ]+$")  # must stand before all else
_LINE = re.compile(rf'(File "[^"\n]*{re.escape(FILE_NAME)}", line )(\d+)')


class LiveCodeBenchEnv(FunctionEnv):
    """Either kind of problem is judged and shown as what it is."""

    def first_message(self, problem: Problem) -> str:
        starter = problem.metadata.get("starter", "")
        if not starter:
            return super().first_message(problem)
        return self.prompts.fill("solve_with_starter", description=problem.description, starter=starter.rstrip())

    async def run_tests(self, problem: Problem, code: str, tests: Sequence[TestCase], *, stop: bool) -> ProgramResult:
        return _without_header(await super().run_tests(problem, with_header(code), tests, stop=stop))


def with_header(code: str) -> str:
    """The program from its second line on."""
    future = "".join(f"{line}; " for line in _FUTURE.findall(code))
    return f"{future}{HEADER}\n{_FUTURE.sub('', code)}"


def _without_header(result: ProgramResult) -> ProgramResult:
    """Errors that count the lines of the program alone."""

    def moved(error: str) -> str:
        return _LINE.sub(lambda match: f"{match[1]}{int(match[2]) - 1}", error)

    tests = tuple(replace(test, error=moved(test.error)) for test in result.tests)
    return replace(result, error=moved(result.error), tests=tests)
