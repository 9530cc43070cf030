"""Tasks whose tests are calls of a function (HumanEval+, MBPP+, part of LiveCodeBench), and their feedback.

What is judged, and how nothing that is expected gets into the jail, is in `calls.py`. Feedback shows a test as the
assertion it is, with the value that the call returned, and lists the tests that pass as well. A problem whose metadata
names no call is judged by input and output, as in `CodeContestsEnv`; so one store may hold both kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rlef_plugin.env.base import environment_of
from rlef_plugin.env.call_runs import run_calls
from rlef_plugin.env.calls import assertion, call_of
from rlef_plugin.env.code import Extraction, extract_code
from rlef_plugin.env.codecontests import CodeContestsEnv
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import ProgramResult, Verdict
from rlef_plugin.problems.records import Problem, TestCase


class FunctionEnv(CodeContestsEnv):
    """Judging and feedback; the first message is the subclass's."""

    takes_calls: ClassVar[bool] = True

    def shown(self, problem: Problem, key: str) -> str:
        """What the first message shows of a problem's metadata."""
        if key not in problem.metadata:
            raise UsageError(
                f"problem {problem.id!r} has no {key}, which {type(self).__name__} shows first: "
                f"use --env {environment_of(problem)}"
            )
        return str(problem.metadata[key])

    def program(self, response: str) -> Extraction:
        """The last block that defines what is called; a later one with a call of it is an example."""
        call = call_of(self._problem) if self._problem else None
        return extract_code(self.prefill + response, defining=(call.method_of or call.entry_point) if call else None)

    async def run_tests(self, problem: Problem, code: str, tests: Sequence[TestCase], *, stop: bool) -> ProgramResult:
        call = call_of(problem)
        if call is None:
            return await super().run_tests(problem, code, tests, stop=stop)
        return await run_calls(self.judge, call, code, tests, self.limits(problem), stop=stop)

    def feedback(self, problem: Problem, code: Extraction, result: ProgramResult | None) -> str:
        call = call_of(problem)
        if call is None or result is None or code.code is None or result.verdict == Verdict.ACCEPTED:
            return super().feedback(problem, code, result)
        tests = [TestCase(assertion(call, test), "") for test in problem.public_tests]
        return self.writer.failures(tests, result, code.code, self.limits(problem), calls=True)
