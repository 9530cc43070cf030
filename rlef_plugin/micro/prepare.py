"""The micro-world's problem store, and a Llama of less than a million parameters that has just begun to read feedback.

The warm-up's dialogs are those of an episode, through the plugin's own environment: a first program drawn blindly from
the eight that the statement allows, its feedback, and repairs. At first most repairs are right, until the model can
read feedback, and in the end few, so that the start is a model that can do it and mostly does not.
How much of this a run needs has not been measured beyond one seed of a prototype.
Kept for the next run, and made anew when the code that makes them, the seed or the sizes change.
"""

import asyncio
import hashlib
import json
import random
import re
import shutil
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlef_plugin.micro.known import KnownPrograms, programs
from rlef_plugin.micro.tasks import FAMILIES, TRUTHS
from rlef_plugin.micro.world import rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from rlef_plugin.tiny.dialogs import Material

TURN_LIMIT = 3
STORE, MODEL, STAMP = "store", "model", "made-from.json"
MAKERS = ("micro/known.py", "micro/prepare.py", "micro/tasks.py", "micro/world.py", "tiny/dialogs.py", "tiny/model.py")
PIECES = r"[0-9]+| ?[^\s0-9]+|\s"  # numbers, and words or whole statements of a program
VOCABULARY = 480
QUOTED = ("$input", "$expected", "$output", "$trace")  # placeholders whose text stands in a fenced block
PROMPTS = {  # that the world's episodes show
    **dict.fromkeys(("first_message", "feedback", "invalid_code"), ()),
    **dict.fromkeys(("wrong_output", "exception", "timeout", "out_of_memory"), QUOTED),
}
FIXED = (  # neither in a prompt nor in a program
    *("user", "assistant", "```python\n", "\n```"),
    'Traceback (most recent call last):\n  File "solution.py", line 1, in <module>\n    ',
    "ValueError: invalid literal for int() with base 10: '",
    "ValueError: not enough values to unpack (expected 2, got 1)",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Of the warm-up; `repairs` is the share of programs after feedback that are right, beyond what guessing gives."""

    steps: int
    lr: float
    repairs: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of the world is made, and how long the warm-up is."""

    families: tuple[str, ...]
    sizes: dict[str, int]  # problems of each split
    stages: tuple[Stage, ...]
    material: int  # training problems in the dialogs
    max_len: int  # tokens that an episode may have


FULL = Plan(
    families=tuple(family.name for family in FAMILIES),
    sizes={"train": 3840, "valid": 256, "test": 512},
    stages=(Stage(1200, 2e-3, 0.8), Stage(150, 1e-3, 0.3)),
    material=3000,
    max_len=512,
)
SHORT = Plan(  # a minute of warm-up
    families=("merge", "read"),
    sizes={"train": 768, "valid": 32, "test": 32},
    stages=(Stage(150, 2e-3, 0.8), Stage(40, 1e-3, 0.3)),
    material=600,
    max_len=1024,  # its tokenizer has not seen the words of every prompt
)
BATCH = 32
SIZE = {"hidden": 128, "layers": 3}


def prepare(work: Path, seed: int, told: Callable[[str], None], plan: Plan = FULL) -> tuple[Path, Path]:
    """(problem store, model folder) of a seed, made where they are missing or out of date."""
    made_from = {
        "code": digest(Path(__file__).parents[1] / name for name in MAKERS),
        "seed": seed,
        "plan": json.loads(json.dumps(asdict(plan))),  # as it is read again
    }
    if read_stamp(work) == made_from:
        return work / STORE, work / MODEL
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    make_store(work / STORE, seed, plan)
    make_model(work / STORE, work / MODEL, seed, told, plan)
    write_stamp(work, made_from)
    return work / STORE, work / MODEL


def write_stamp(folder: Path, made_from: dict[str, Any]) -> None:
    """Say what made a folder; written when it is complete."""
    (folder / STAMP).write_text(json.dumps(made_from))


def read_stamp(folder: Path) -> dict[str, Any] | None:
    path = folder / STAMP
    return dict(json.loads(path.read_text())) if path.is_file() else None


def make_store(path: Path, seed: int, plan: Plan) -> None:
    from rlef_plugin.problems import build_store

    families = [family for family in FAMILIES if family.name in plan.families]
    build_store(rows(plan.sizes, seed, families), path)


def make_model(store: Path, folder: Path, seed: int, told: Callable[[str], None], plan: Plan) -> None:
    from rlef_plugin.env import Dialog
    from rlef_plugin.tiny import dialogs
    from rlef_plugin.tiny.model import new_llama, save, warm_up

    material = asyncio.run(collect(store, plan.material))
    tokenizer = make_tokenizer(material)
    dialog, encode = Dialog(tokenizer), cache(lambda text: list(tokenizer.encode(text, add_special_tokens=False)))
    for name in ("prompt_tokens", "feedback_tokens"):  # the same messages are drawn many times
        setattr(dialog, name, cache(getattr(dialog, name)))
    model = new_llama(tokenizer, **SIZE, max_len=plan.max_len, seed=seed)
    for number, stage in enumerate(plan.stages):
        guess = 1 / TRUTHS
        repair = guess + (1 - guess) * stage.repairs

        def draw(rng: random.Random, shares: tuple[float, ...] = (guess, repair, repair)) -> dialogs.Example:
            return dialogs.draw(material, dialog, encode, rng, right_share=shares, turn_limit=TURN_LIMIT)

        def on_step(step: int, loss: float, stage: Stage = stage, number: int = number) -> None:
            told(f"warm-up, stage {number + 1} of {len(plan.stages)}: step {step} of {stage.steps}, loss {loss:.3f}")

        warm_up(model, draw, steps=stage.steps, batch=BATCH, lr=stage.lr, seed=seed + number, on_step=on_step)
    save(model, tokenizer, folder)


async def collect(store_path: Path, count: int) -> "list[Material]":
    """Every program of the first training problems, with the feedback it gets."""
    from rlef_plugin.env import CodeContestsEnv, EnvConfig
    from rlef_plugin.problems import ProblemStore
    from rlef_plugin.tiny.dialogs import Material, response

    store, judge = ProblemStore.open(store_path), KnownPrograms()
    found = []
    for problem_id in store.ids("train")[:count]:
        right, wrong, first_message = [], [], ""
        for solution in store.solutions(problem_id):
            env = CodeContestsEnv(store, judge, EnvConfig(turn_limit=TURN_LIMIT), lambda text: len(text) // 4)  # type: ignore[arg-type]
            first_message = await env.reset(problem_id)
            step = await env.step(response(solution.code))
            if step.solved != solution.correct:
                raise RuntimeError(f"{problem_id}: {solution.code!r} should be {solution.correct}")
            if solution.correct:
                right.append(response(solution.code))
            else:
                wrong.append((response(solution.code), step.observation))
        found.append(Material(first_message, right, wrong))
    return found


def make_tokenizer(material: "Sequence[Material]") -> "PreTrainedTokenizerFast":
    """Words and numbers are whole, and so is what prompts, tracebacks and programs always say alike."""
    from rlef_plugin.tiny.model import train_tokenizer

    texts = [text for one in material for text in (one.first_message, *(feedback for _, feedback in one.wrong))]
    lines = {line for program in programs() for line in program.split("\n")}
    return train_tokenizer(texts, VOCABULARY, pieces=PIECES, whole=sorted({*fixed_texts(), *lines, *FIXED}))


def fixed_texts() -> set[str]:
    """The prompts between their placeholders; what is quoted there stands in a fenced block, whose fences go along."""
    from rlef_plugin.env.templates import load_prompts

    prompts, fixed = load_prompts(), set[str]()
    for name, quoted in PROMPTS.items():
        text = string.Template(prompts.texts[name]).safe_substitute(format=prompts.texts["format"])
        parts = re.split(r"(\$\w+)", text)  # text, placeholder, text, ...
        for at in range(0, len(parts), 2):
            before = "\n```" if at and parts[at - 1] in quoted else ""
            after = "```\n" if at + 1 < len(parts) and parts[at + 1] in quoted else ""
            fixed.add(before + parts[at] + after)
    return fixed - {""}


def digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in sorted(files))).hexdigest()
