"""What tests of an episode put in the place of vLLM and of the judge: both answer from a script, at once.

The engine's tokens are those of single characters, not those the tokenizer would choose, so a response that was
tokenised again would be seen; its log-probabilities name the position they belong to.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from rlef_plugin.env import Environment, Extraction
from rlef_plugin.judge.verdicts import Limits, ProgramResult, SandboxError, TestResult, Verdict
from rlef_plugin.problems import Problem, TestCase

SOLVED, PUBLIC_ONLY, WRONG, SLOW, NO_CODE, BROKEN_JUDGE = "solved public wrong slow prose broken".split()


def problem(name: str, split: str = "train") -> Problem:
    tests = (TestCase("1\n", f"public {name}"),), (TestCase("2\n", f"SECRET {name}"),)
    return Problem(name, f"Solve <{name}>.", *tests, split=split)


def reply(kind: str, padding: int = 0) -> str:
    """A response of this kind; `padding` makes it longer by as many characters."""
    text = "Nothing to see." if kind == NO_CODE else f"```python\nprint('{kind}')\n```"
    return text + "~" * padding


def log_prob(position: int) -> float:
    """Of the token at this index of the dialog."""
    return -position / 1024  # exact in float32


class ScriptedEngine:
    """Answers `script(problem name, turn)`; keeps (token ids, max_tokens, sampling params) of each request."""

    def __init__(self, tokenizer: Any, script: Callable[[str, int], str], *, by_character: bool = True) -> None:
        self.tokenizer, self.script, self.by_character = tokenizer, script, by_character
        self.requests: list[tuple[list[int], int, Any]] = []
        self.header = tokenizer.convert_tokens_to_ids("<|start_header_id|>")

    async def generate(self, prompt_token_ids: list[int], sampling_params: Any) -> Any:
        self.requests.append((list(prompt_token_ids), sampling_params.max_tokens, sampling_params))
        text = self.tokenizer.decode(prompt_token_ids)
        name = re.search(r"<([\w-]+)>\.", text)[1]  # type: ignore[index]
        turn = (prompt_token_ids.count(self.header) - 3) // 2 + 1  # system, user, assistant; then two more a turn
        for _ in range(len(name) * turn % 4):  # other episodes come in between
            await asyncio.sleep(0)
        return SimpleNamespace(outputs=[self._output(self.script(name, turn), len(prompt_token_ids), sampling_params)])

    def _output(self, text: str, start: int, params: Any) -> Any:
        pieces = text if self.by_character else [text]
        ids = [token for piece in pieces for token in self.tokenizer.encode(piece, add_special_tokens=False)]
        cut = len(ids) >= params.max_tokens
        ids = ids[: params.max_tokens] if cut else [*ids, self.tokenizer.eos_token_id]
        log_probs = None
        if params.logprobs is not None:  # beside the sampled token the engine names the likeliest one
            log_probs = [
                {token + 1: SimpleNamespace(logprob=9.0), token: SimpleNamespace(logprob=log_prob(start + index))}
                for index, token in enumerate(ids)
            ]
        text = self.tokenizer.decode(ids if cut else ids[:-1])
        return SimpleNamespace(
            token_ids=tuple(ids), text=text, finish_reason="length" if cut else "stop", logprobs=log_probs
        )


class ScriptedJudge:
    """Judges `reply` by its kind; keeps the outputs that were expected of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    async def judge(self, program: str, tests: Sequence[TestCase], limits: Limits, **options: Any) -> ProgramResult:
        self.calls.append(tuple(test.output for test in tests))
        await asyncio.sleep(0)
        if BROKEN_JUDGE in program:
            raise SandboxError("nsjail is gone")
        results = [TestResult(self._verdict(program, test), 0.1, 0.1, 9.0, b"printed", "") for test in tests]
        first = next((one.verdict for one in results if one.verdict != Verdict.ACCEPTED), Verdict.ACCEPTED)
        return ProgramResult(first, tuple(results), "")

    def _verdict(self, program: str, test: TestCase) -> Verdict:
        if SOLVED in program or (PUBLIC_ONLY in program and not test.output.startswith("SECRET")):
            return Verdict.ACCEPTED
        return Verdict.TIMEOUT if SLOW in program else Verdict.WRONG_OUTPUT


class FullBudgetEnv(Environment):
    """Feedback takes its budget to the last token, so that what is said of room can be checked to the token."""

    def first_message(self, problem: Problem) -> str:
        return problem.description

    def feedback(self, problem: Problem, code: Extraction, result: ProgramResult | None) -> str:
        text = "No program. " if result is None else "Failed. "
        return text + "~" * (self.config.feedback_tokens - self.count_tokens(text))


class PrefilledEnv(FullBudgetEnv):
    """Opens each response with text that depends on the problem; no tokenizer merges it with what comes before."""

    def first_message(self, problem: Problem) -> str:
        self.prefill = f"```python\n# {problem.id}\n"
        return super().first_message(problem)
