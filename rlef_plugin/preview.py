"""One problem as a model meets it: the first message, and what follows a given program. For `rlef data preview`.

With a tokenizer the text is decoded from the very tokens that a rollout would send, template and prefill included;
without one it is the bare message. The program is judged in a jail as in an episode that may go on, so what follows it
is the feedback, or the end of the episode if all public tests pass.
"""

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlef_plugin.env import Dialog, EnvConfig, Environment, Step, load_environment
from rlef_plugin.env.base import environment_of
from rlef_plugin.env.code import fenced
from rlef_plugin.errors import UsageError
from rlef_plugin.judge import JudgeConfig, SandboxError, open_judge
from rlef_plugin.problems import ProblemStore


@dataclass(frozen=True, slots=True)
class Preview:
    """Texts as the model sees them, with their tokens where a tokenizer was named."""

    environment: str
    first: str
    first_tokens: int | None
    step: Step | None = None  # of the program
    then: str = ""
    then_tokens: int | None = None

    def __str__(self) -> str:
        parts = [f"--- first message ({self.environment}{_tokens(self.first_tokens)})", self.first]
        if self.step is not None and self.step.done:
            parts.append(f"--- the program {_ending(self.step)}: the episode ends")
        elif self.step is not None:
            tokens = _tokens(self.then_tokens)
            parts += [f"--- what follows the program ({self.step.verdict.label}{tokens})", self.then]
        return "\n".join(parts)


def preview(
    path: Path, problem_id: str, *, env: str = "", tokenizer: str = "", program: str | None = None, config: EnvConfig
) -> Preview:
    """Play the first turn of a problem's episode with this program, if any.

    Raises:
        UsageError: the store, the problem, the environment, the tokenizer or the sandbox cannot be used.
    """
    store = ProblemStore.open(path)
    name = env or environment_of(store[problem_id])
    dialog = Dialog(_tokenizer(tokenizer)) if tokenizer else None
    count = dialog.count_tokens if dialog else lambda text: math.ceil(len(text) / 3)
    try:
        return asyncio.run(_play(store, problem_id, name, dialog, count, program, config))
    except SandboxError as error:
        raise UsageError(f"the program cannot be judged here: {error}") from None


async def _play(
    store: ProblemStore,
    problem_id: str,
    name: str,
    dialog: Dialog | None,
    count: Any,
    program: str | None,
    config: Any,
) -> Preview:
    judge: Any = await open_judge(JudgeConfig(workers=1)) if program is not None else None
    try:
        episode = load_environment(name)(store, judge, config, count)
        message = await episode.reset(problem_id)
        ids = dialog.prompt_tokens(message, prefill=episode.prefill) if dialog else None
        first = dialog.decode(ids) if dialog and ids else message + _prefilled(episode)
        tokens = len(ids) if ids else None
        if program is None:
            return Preview(name, first, tokens)
        prefill, episode.prefill = episode.prefill, ""  # the program is a whole one
        step = await episode.step(fenced(program))
    finally:
        if judge is not None:
            await judge.close()
    after = dialog.feedback_tokens(step.observation, None, prefill=prefill) if dialog else None
    then = dialog.decode(after) if dialog and after else step.observation
    return Preview(name, first, tokens, step, then, len(after) if after else None)


def _ending(step: Step) -> str:
    if step.solved:
        return "passes every test"
    public = "passes the public tests and fails a private test" if step.public_passed else "fails the public tests"
    return f"{public}: {step.verdict.label}"


def _prefilled(episode: Environment) -> str:
    return f"\n--- the response opens with\n{episode.prefill}" if episode.prefill else ""


def _tokens(count: int | None) -> str:
    return "" if count is None else f", {count} tokens"


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise UsageError(f"--tokenizer {name!r} does not load ({first_line}): name a folder or hub id") from None
