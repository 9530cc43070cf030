"""A seed -> the problems of the micro-world as rows in CodeContests' schema, in three splits.

Statements (wording, names, layout) and the numbers of public tests are dealt to the splits first, so a held-out
problem shares neither its statement nor its public test with any training problem, hence no triple of statement,
meaning and test. What is meant cannot be held out: the eight truths of a family are all there is to learn.

Limits are small, so that a loop over a huge number costs little before it is stopped.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

from rlef_plugin.micro.tasks import FAMILIES, TRUTHS, Family, Pair, Task

SPLITS = {"train": 0.8, "valid": 0.1, "test": 0.1}  # of statements and of public tests
PRIVATE_TESTS = 5
TIME_LIMIT_S, MEMORY_LIMIT_MB = 0.1, 64
NAMES = (("a", "b"), ("p", "q"), ("x", "y"), ("m", "n"), ("u", "v"), ("s", "t"))


def rows(sizes: dict[str, int], seed: int, families: Sequence[Family] = FAMILIES) -> Iterator[dict[str, Any]]:
    """`sizes` problems of each split, the families in turn."""
    for split, size in sizes.items():
        for number, task in enumerate(itertools.islice(tasks(split, seed, families), size)):
            yield row(
                task, f"{task.family.name}-{split}-{number:05d}", split, random.Random(f"{seed} {split} {number}")
            )


def tasks(split: str, seed: int, families: Sequence[Family] = FAMILIES) -> Iterator[Task]:
    """Tasks of a split, none twice, without end as long as there are any."""
    rng = random.Random(f"{seed} {split}")
    dealt = {family.name: _Dealt(family, split, seed) for family in families}
    seen: set[tuple[str, int, Pair]] = set()
    for family in itertools.cycle(families):
        for _ in range(1000):
            task = dealt[family.name].draw(rng)
            key = (task.statement, task.truth, task.public)
            if key not in seen:
                break
        else:
            raise ValueError(
                f"the family {family.name} has no more problems for {split} after {len(seen)}: ask for fewer"
            )
        seen.add(key)
        yield task


class _Dealt:
    """What a split may use of a family."""

    def __init__(self, family: Family, split: str, seed: int) -> None:
        said = family.layouts if "{layout}" in family.statements[0] else family.choices
        spoken = [
            (text.format(p=p, q=q, layout=words, choice=words), words)
            for text, (p, q), words in itertools.product(family.statements, NAMES, said)
        ]
        self.family = family
        self.statements = deal(spoken, split, seed)
        self.pairs, self.huge_pairs = deal(family.pairs, split, seed), deal(family.huge_pairs, split, seed)

    def draw(self, rng: random.Random) -> Task:
        statement, said = rng.choice(self.statements)
        task = Task(self.family, statement, said, rng.randrange(TRUTHS), self.pairs[0])
        pair = rng.choice(self.huge_pairs if task.asks_huge() else self.pairs)
        return Task(task.family, statement, said, task.truth, pair)


def deal[T](things: Sequence[T], split: str, seed: int) -> list[T]:
    """The part of `things` that belongs to a split."""
    shuffled = list(things)
    random.Random(seed).shuffle(shuffled)
    names = list(SPLITS)
    borders = [round(len(shuffled) * sum(itertools.islice(SPLITS.values(), n))) for n in range(len(names) + 1)]
    at = names.index(split)
    return shuffled[borders[at] : borders[at + 1]]


def row(task: Task, name: str, split: str, rng: random.Random) -> dict[str, Any]:
    pairs = task.family.huge_pairs if task.asks_huge() else task.family.pairs
    private = rng.sample([pair for pair in pairs if pair != task.public], PRIVATE_TESTS)
    wrong = [task.program(truth) for truth in range(TRUTHS) if truth != task.truth]
    return {
        "name": name,
        "split": split,
        "description": task.statement,
        "public_tests": _tests(task, [task.public]),
        "private_tests": _tests(task, private),
        "generated_tests": {"input": [], "output": []},
        "time_limit_s": TIME_LIMIT_S,
        "memory_limit_mb": MEMORY_LIMIT_MB,
        "solutions": {"language": [3], "solution": [task.program(task.truth)]},
        "incorrect_solutions": {"language": [3] * len(wrong), "solution": wrong},
    }


def _tests(task: Task, pairs: Sequence[Pair]) -> dict[str, list[str]]:
    inputs, outputs = zip(*(task.test(pair) for pair in pairs), strict=True)
    return {"input": list(inputs), "output": list(outputs)}
