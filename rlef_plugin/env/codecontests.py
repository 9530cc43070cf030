"""Competitive programming: a problem with input and output tests, feedback from its public ones.

The wording is in the files of `prompts/`, or in those of the folder `EnvConfig.prompts` names; `feedback.py` says
which part of a test's result goes into it and how it is kept within its budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rlef_plugin.env.base import EnvConfig, Environment, ProblemLookup
from rlef_plugin.env.code import Extraction
from rlef_plugin.env.feedback import FeedbackWriter
from rlef_plugin.env.templates import load_prompts
from rlef_plugin.judge.verdicts import ProgramResult, Verdict
from rlef_plugin.problems.records import Problem

if TYPE_CHECKING:
    from rlef_plugin.judge import Judge


class CodeContestsEnv(Environment):
    """The environment of the paper, for CodeContests and for any problems brought in its form."""

    def __init__(
        self, problems: ProblemLookup, judge: Judge, config: EnvConfig, count_tokens: Callable[[str], int]
    ) -> None:
        """Raise UsageError if the prompt files cannot be used or a feedback message cannot fit its budget."""
        super().__init__(problems, judge, config, count_tokens)
        self.prompts = load_prompts(config.prompts)
        self.writer = FeedbackWriter(self.prompts, count_tokens, config.feedback_tokens, config.feedback)

    def first_message(self, problem: Problem) -> str:
        return self.prompts.fill("first_message", description=self.described(problem))

    def described(self, problem: Problem) -> str:
        """The description, and where a test's input or output is a file, its name, which not every description has."""
        if not (problem.input_file or problem.output_file):
            return problem.description
        read, written = (f"the file {name}" if name else "" for name in (problem.input_file, problem.output_file))
        files = self.prompts.fill(
            "named_files", input=read or "the standard input", output=written or "the standard output"
        )
        return f"{problem.description}\n\n{files}"

    def feedback(self, problem: Problem, code: Extraction, result: ProgramResult | None) -> str:
        """What is said after a response: the one place that decides what the model gets to see."""
        if result is None or code.code is None:
            return self.writer.invalid_code(code)
        if result.verdict == Verdict.ACCEPTED:  # the episode goes on although all passed: early_stop is off
            return self.prompts.fill("public_passed")
        checked = problem.checker is not None
        return self.writer.failures(problem.public_tests, result, code.code, self.limits(problem), checked=checked)
