"""An episode: a problem, up to `turn_limit` responses, execution feedback between them, a reward for each.

    observation = await env.reset(problem_id)          # the first user message
    step = await env.step(response)                    # judged on the public tests
    step.observation, step.reward, step.done           # the next user message, or "" when done

The episode ends when all public tests pass (`early_stop`), at the turn limit, or when the caller says `last=True`
because its context is full. Only then are the private tests run, and they decide `solved`. Nothing of a private test
ever enters an observation or an exception of this package. A bad program is a verdict; a broken judge is a
SandboxError, which passes through unchanged and leaves the episode as it was before the step.

Your own task is a subclass; two methods are enough, and everything above is kept:

    class ShoutEnv(Environment):
        def first_message(self, problem: Problem) -> str:
            return f"{problem.description}\nAnswer in capitals, in a ```python block."

        def feedback(self, problem: Problem, code: Extraction, result: ProgramResult | None) -> str:
            if result is None:
                return f"{code.reason} Try again."
            failed = sum(test.verdict != Verdict.ACCEPTED for test in result.tests)
            return f"{failed} tests failed. Try again."

        def program(self, response: str) -> Extraction:      # optional: what of a response is run
            return extract_code(response)

To change only the wording, replace prompt files (`EnvConfig.prompts`) and keep CodeContestsEnv. An instance is one
episode and is not safe for concurrent steps; many instances may share one judge.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rlef_plugin.env.code import Extraction, extract_code, invalid_syntax
from rlef_plugin.env.reward import turn_reward
from rlef_plugin.env.traces import clean_syntax_error
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import Limits, ProgramResult, Verdict
from rlef_plugin.problems.records import Problem, TestCase

if TYPE_CHECKING:
    from rlef_plugin.judge import Judge


class ProblemLookup(Protocol):
    """Anything that finds a problem by its id and raises, naming the id, if there is none."""

    def __getitem__(self, problem_id: str, /) -> Problem: ...


@dataclass(frozen=True, slots=True)
class EnvConfig:
    """What of an episode can be chosen. The names are those of the recipe's `rlef:` block."""

    turn_limit: int = 3
    feedback_tokens: int = 512  # budget of one feedback message
    invalid_code_reward: float = -0.2  # a response without valid code that is not the last
    early_stop: bool = True  # end as soon as all public tests pass
    time_limit_s: float = 10.0  # CPU time a test, where the problem sets none
    memory_limit_mb: int = 1024  # a test, where the problem sets none
    prompts: str = ""  # folder with files that replace those of rlef_plugin/env/prompts; "" = none

    def __post_init__(self) -> None:
        for key in ("turn_limit", "feedback_tokens", "time_limit_s", "memory_limit_mb"):
            if not getattr(self, key) > 0:
                raise UsageError(f"rlef.{key} is {getattr(self, key)!r}, but it must be greater than 0.")
        if not math.isfinite(self.invalid_code_reward):
            raise UsageError(
                f"rlef.invalid_code_reward is {self.invalid_code_reward}, but it must be a finite number."
            )


@dataclass(frozen=True, slots=True)
class Step:
    """What one response led to."""

    observation: str  # the next user message; "" when done
    reward: float
    done: bool
    verdict: Verdict  # on the public tests; on all tests if this was the final response
    public_passed: bool
    solved: bool  # every test passes; False before the final response
    judge_s: float  # wall time spent waiting for the judge
    code: str | None  # the program that was judged; None if the response held no valid code
    cpu_s: float = 0.0  # CPU time of the slowest test that was run
    memory_mb: float = 0.0  # peak memory of the largest


class Environment(ABC):
    """One episode. Subclass it for a new kind of task: see the example at the top of this module."""

    prefill: str = ""  # text that opens every response; `program` gets responses without it

    def __init__(
        self,
        problems: ProblemLookup,
        judge: Judge,
        config: EnvConfig,
        count_tokens: Callable[[str], int],
    ) -> None:
        self.problems, self.judge, self.config, self.count_tokens = problems, judge, config, count_tokens
        self._problem: Problem | None = None
        self._turn = 0
        self._done = False

    # --- Override these ---

    @abstractmethod
    def first_message(self, problem: Problem) -> str:
        """The first user message."""

    @abstractmethod
    def feedback(self, problem: Problem, code: Extraction, result: ProgramResult | None) -> str:
        """The user message after a response that was not the last, within `config.feedback_tokens`.

        `result` is that of the public tests, in their order; None if the response held no valid code (`code.reason`).
        """

    def program(self, response: str) -> Extraction:
        """The program in a response."""
        return extract_code(self.prefill + response)

    def limits(self, problem: Problem) -> Limits:
        """Limits of each test: the problem's own where it has one."""
        return Limits(
            cpu_s=problem.time_limit_s or self.config.time_limit_s,
            memory_mb=problem.memory_limit_mb or self.config.memory_limit_mb,
        )

    async def run_tests(self, problem: Problem, code: str, tests: Sequence[TestCase], *, stop: bool) -> ProgramResult:
        """Judge a program; `stop` at the first failure. Override it for tests that are not input and output."""
        return await self.judge.judge(
            code,
            tests,
            self.limits(problem),
            stop_at_failure=stop,
            input_file=problem.input_file,
            output_file=problem.output_file,
        )

    # --- The episode ---

    async def reset(self, problem_id: str) -> str:
        """Start the episode of this problem; return the first user message."""
        problem = self.problems[problem_id]
        if not problem.public_tests:
            raise UsageError(
                f"Problem {problem_id!r} has no public tests to give feedback on: leave it out of the store."
            )
        self._problem, self._turn, self._done = problem, 0, False
        return self.first_message(problem)

    async def step(self, response: str, *, last: bool = False) -> Step:
        """Judge a response. `last`: there is no room for another turn, so judge it as the final one.

        If this raises, the episode is where it was and the same step may be tried again.
        """
        if self._problem is None or self._done:
            raise RuntimeError("step() called outside an episode: call reset() first, and no step() after done.")
        final = last or self._turn + 1 >= self.config.turn_limit
        step = await self._attempt(self._problem, self.program(response), final)
        self._turn, self._done = self._turn + 1, step.done
        return step

    async def _attempt(self, problem: Problem, code: Extraction, final: bool) -> Step:
        """Public tests, then either feedback or the private tests and the end."""
        started = time.perf_counter()
        code, public = await self._run_public(problem, code, final)
        verdict = Verdict.INVALID_CODE if public is None else public.verdict
        public_passed = verdict == Verdict.ACCEPTED
        done = final or (public_passed and self.config.early_stop)
        tests = public.tests if public else ()
        if done and public_passed and code.code is not None and problem.private_tests:
            private = await self.run_tests(problem, code.code, problem.private_tests, stop=True)
            verdict, tests = private.verdict, tests + private.tests
        judge_s = time.perf_counter() - started
        solved = done and verdict == Verdict.ACCEPTED
        return Step(
            observation="" if done else self.feedback(problem, code, public),
            reward=turn_reward(
                final=done,
                valid_code=code.code is not None,
                solved=solved,
                invalid_code_reward=self.config.invalid_code_reward,
            ),
            done=done,
            verdict=verdict,
            public_passed=public_passed,
            solved=solved,
            judge_s=judge_s,
            code=code.code,
            cpu_s=max((test.cpu_s for test in tests), default=0.0),
            memory_mb=max((test.peak_memory_mb for test in tests), default=0.0),
        )

    async def _run_public(
        self, problem: Problem, code: Extraction, final: bool
    ) -> tuple[Extraction, ProgramResult | None]:
        """The result of the public tests, all of them if feedback may follow; None for a program that is not valid."""
        if code.code is None:
            return code, None
        result = await self.run_tests(problem, code.code, problem.public_tests, stop=final)
        if result.verdict == Verdict.INVALID_CODE:  # this process merely parses; only the jail compiles
            return invalid_syntax(clean_syntax_error(result.error, code.code)), None
        return code, result
