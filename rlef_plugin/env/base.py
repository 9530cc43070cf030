"""An episode: a problem, up to `turn_limit` responses, execution feedback between them, a reward for each.

    observation = await env.reset(problem_id)          # the first user message
    step = await env.step(response)                    # judged on the public tests
    step.observation, step.reward, step.done           # the next user message, or "" when done

The episode ends when all public tests pass (`early_stop`), at the turn limit, or when the caller says `last=True`
because its context is full. Only then are the private tests run, and they decide `solved`. Nothing of a private test
ever enters an observation or an exception of this package, but for `rlef.feedback: private`. A bad program is a
verdict; a broken judge is a SandboxError, which passes through unchanged and leaves the episode as it was before the
step. What `rlef.feedback` puts between the responses (modes.py) holds for subclasses too.

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

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from rlef_plugin.env.code import Extraction, extract_code, invalid_syntax
from rlef_plugin.env.few_shot import preamble
from rlef_plugin.env.modes import Judged, first_failures, judged_problem, of_another_problem, verdict_labels
from rlef_plugin.env.reward import turn_reward
from rlef_plugin.env.settings import EnvConfig
from rlef_plugin.env.templates import load_prompts
from rlef_plugin.env.traces import clean_syntax_error
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.checker import judge_with_checker
from rlef_plugin.judge.verdicts import Limits, ProgramResult, TestResult, Verdict
from rlef_plugin.problems.records import Problem, TestCase

if TYPE_CHECKING:
    from rlef_plugin.judge import Judge


_ENVIRONMENTS = {"humaneval+": "HumanEvalPlusEnv", "mbpp+": "MBPPPlusEnv"}  # by a problem's source


class ProblemLookup(Protocol):
    """Anything that finds a problem by its id and raises, naming the id, if there is none."""

    def __getitem__(self, problem_id: str, /) -> Problem: ...


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
    run_s: float = 0.0  # wall time of all tests that were run, one after the other; the rest of judge_s is waiting
    checker_errors: int = 0  # clean outputs that the problem's checker failed on
    killed: int = 0  # tests whose jail the kernel ended at every try


class Environment(ABC):
    """One episode. Subclass it for a new kind of task: see the example at the top of this module."""

    takes_calls: ClassVar[bool] = False  # whether `run_tests` knows tests that are calls of a function
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
        self._judge_s = 0.0

    # --- Override these ---

    @abstractmethod
    def first_message(self, problem: Problem) -> str:
        """The first user message."""

    @abstractmethod
    def feedback(self, problem: Problem, code: Extraction, result: ProgramResult | None) -> str:
        """The user message after a response that was not the last, within `config.feedback_tokens`.

        `result` is that of the public tests, in their order; None if the response held no valid code (`code.reason`).
        """

    def invitation(self) -> str:
        """The user message with `rlef.feedback: none`: it says nothing about the response."""
        return load_prompts(self.config.prompts).fill("try_again")

    def verdict_message(self, verdicts: str) -> str:
        """The user message with `rlef.feedback: verdict_only`, such as "wrong output, timeout"."""
        return load_prompts(self.config.prompts).fill("verdict_only", verdicts=verdicts)

    def program(self, response: str) -> Extraction:
        """The program in a response."""
        return extract_code(self.prefill + response)

    def limits(self, problem: Problem) -> Limits:
        """Limits of each test: the problem's own where it has one, as near as the judge can hold them."""
        return Limits.nearest(
            problem.time_limit_s or self.config.time_limit_s,
            problem.memory_limit_mb or self.config.memory_limit_mb,
        )

    async def run_tests(self, problem: Problem, code: str, tests: Sequence[TestCase], *, stop: bool) -> ProgramResult:
        """Judge a program; `stop` at the first failure. Override it for tests that are not input and output."""
        if problem.checker is not None:
            return await judge_with_checker(self.judge, problem, code, tests, self.limits(problem), stop=stop)
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
        """Start the episode of this problem; return the first user message.

        Refuse a problem whose tests would be run as what they are not.
        """
        problem = self.problems[problem_id]
        self.check_tests(problem)
        if not problem.public_tests:
            raise UsageError(
                f"Problem {problem_id!r} has no public tests to give feedback on: leave it out of the store."
            )
        self._problem, self._turn, self._done = problem, 0, False
        if not self.config.few_shot:
            return self.first_message(problem)
        examples = preamble(self.config.few_shot, problem, load_prompts(self.config.prompts))
        return examples + self.first_message(problem)

    @classmethod
    def check_tests(cls, problem: Problem) -> None:
        """Raise UsageError if this class would run the problem's tests as what they are not."""
        if not cls.takes_calls and problem.metadata.get("call"):
            raise UsageError(
                f"the tests of problem {problem.id!r} are calls of a function, and {cls.__name__} runs "
                f"programs that read and write: use --env {environment_of(problem)}, or a FunctionEnv of your own"
            )

    async def step(self, response: str, *, last: bool = False) -> Step:
        """Judge a response. `last`: there is no room for another turn, so judge it as the final one.

        If this raises, the episode is where it was and the same step may be tried again.
        """
        if self._problem is None or self._done:
            raise RuntimeError("step() called outside an episode: call reset() first, and no step() after done.")
        final = last or self._turn + 1 >= self.config.turn_limit
        step = await self._attempt(self._problem, response, self.program(response), final)
        self._turn, self._done = self._turn + 1, step.done
        return step

    async def _attempt(self, problem: Problem, response: str, code: Extraction, final: bool) -> Step:
        """The tests that feedback speaks of, then either feedback or the other tests and the end."""
        self._judge_s = 0.0
        shown = judged_problem(problem, self.config.feedback)
        code, result = await self._run_public(shown, code, final)
        verdict = Verdict.INVALID_CODE if result is None else result.verdict
        done = final or (verdict == Verdict.ACCEPTED and self.config.stops_early)
        tests = result.tests if result else ()
        runs = [result] if result else []
        public = tests[: len(problem.public_tests)]
        if done and code.code is not None and shown.private_tests and (verdict == Verdict.ACCEPTED or self._fraction):
            private = await self._run(shown, code.code, shown.private_tests, stop=not self._fraction)
            runs.append(private)
            verdict, tests = private.verdict if verdict == Verdict.ACCEPTED else verdict, tests + private.tests
        solved = done and verdict == Verdict.ACCEPTED
        return Step(
            observation="" if done else await self._observation(Judged(shown, code, result), response),
            reward=turn_reward(
                final=done,
                valid_code=code.code is not None,
                solved=solved,
                invalid_code_reward=self.config.invalid_code_reward,
                passed=_passed(tests, problem) if self._fraction else None,
            ),
            done=done,
            verdict=verdict,
            public_passed=result is not None and (result.accepted or _all_passed(public, problem.public_tests)),
            solved=solved,
            judge_s=self._judge_s,
            code=code.code,
            cpu_s=max((test.cpu_s for test in tests), default=0.0),
            memory_mb=max((test.peak_memory_mb for test in tests), default=0.0),
            run_s=sum(test.wall_s for test in tests),
            checker_errors=sum(run.checker_errors for run in runs),
            killed=sum(run.killed for run in runs),
        )

    async def _observation(self, judged: Judged, response: str) -> str:
        """The next user message, by `rlef.feedback`; modes.py says what each is."""
        mode = self.config.feedback
        if mode == "none":
            return self.invitation()
        if mode == "verdict_only":
            return self.verdict_message(verdict_labels(judged.result))
        if mode == "random":
            seed = f"{self.config.feedback_seed}\n{self._turn}\n{judged.problem.id}\n{response}"
            other = await of_another_problem(self.problems, judged.problem, seed, self._run_whole)
            return self.feedback(other.problem, other.code, other.result) if other else self.invitation()
        shown = first_failures(judged) if mode == "private" else judged
        return self.feedback(shown.problem, shown.code, shown.result)

    async def _run_public(
        self, problem: Problem, code: Extraction, final: bool
    ) -> tuple[Extraction, ProgramResult | None]:
        """The result of the public tests, all of them if feedback may follow; None for a program that is not valid."""
        if code.code is None:
            return code, None
        result = await self._run(problem, code.code, problem.public_tests, stop=final and not self._fraction)
        if result.verdict == Verdict.INVALID_CODE:  # this process merely parses; only the jail compiles
            return invalid_syntax(clean_syntax_error(result.error, code.code)), None
        return code, result

    async def _run_whole(self, problem: Problem, code: str) -> ProgramResult:
        return await self._run(problem, code, problem.public_tests, stop=False)

    async def _run(self, problem: Problem, code: str, tests: Sequence[TestCase], *, stop: bool) -> ProgramResult:
        """`run_tests`, with the time waited for it."""
        started = time.perf_counter()
        result = await self.run_tests(problem, code, tests, stop=stop)
        self._judge_s += time.perf_counter() - started
        return result

    @property
    def _fraction(self) -> bool:
        return self.config.reward == "fraction"


def environment_of(problem: Problem) -> str:
    """The environment that a problem was made for."""
    found = _ENVIRONMENTS.get(problem.source, "LiveCodeBenchEnv" if "call" in problem.metadata else "CodeContestsEnv")
    return f"rlef_plugin.{found}"


def _all_passed(results: Sequence[TestResult], tests: Sequence[TestCase]) -> bool:
    return len(results) == len(tests) and all(one.verdict == Verdict.ACCEPTED for one in results)


def _passed(results: Sequence[TestResult], problem: Problem) -> float:
    """The fraction of all tests of the problem that passed; a test that was not run did not."""
    passed = sum(one.verdict == Verdict.ACCEPTED for one in results)
    return passed / (len(problem.public_tests) + len(problem.private_tests))
