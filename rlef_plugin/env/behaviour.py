"""What a model does with feedback, from its programs and verdicts alone: does it repair, repeat, or rewrite?

The same functions speak of training (the metrics of every step) and of an evaluation's rollouts. Two programs of an
episode are successive if no other valid program lies between them; responses without valid code are passed over.
Everything is exact and plain Python; a chrF of two programs of 1,000 characters takes some 5 ms.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

CHRF_ORDER = 6  # character n-grams, n = 1..6
CHRF_BETA = 2.0  # recall counts twice

ACCEPTED = "accepted"


def chrf(program: str, earlier: str) -> float:
    """chrF2 of a program against an earlier one as the reference, 0 to 100; sacreBLEU's default, one sentence.

    Precision and recall of character n-grams without white space, averaged over the n for which both texts have any:

        chrF = 100 * (1 + beta^2) * P * R / (beta^2 * P + R)
    """
    new, old = "".join(program.split()), "".join(earlier.split())
    if new == old:
        return 100.0 if new else 0.0
    orders = min(CHRF_ORDER, len(new), len(old))
    if orders == 0:
        return 0.0
    precision = recall = 0.0
    for n in range(1, orders + 1):
        new_grams, old_grams = _ngrams(new, n), _ngrams(old, n)
        common = sum(min(count, old_grams[gram]) for gram, count in new_grams.items() if gram in old_grams)
        precision += common / (len(new) - n + 1) / orders
        recall += common / (len(old) - n + 1) / orders
    if precision + recall == 0:
        return 0.0
    return 100 * (1 + CHRF_BETA**2) * precision * recall / (CHRF_BETA**2 * precision + recall)


def _ngrams(text: str, n: int) -> Counter[str]:
    return Counter(text[start : start + n] for start in range(len(text) - n + 1))


def earlier_programs(programs: Sequence[str | None]) -> list[str | None]:
    """For each turn the program before it, None where there is none or the turn itself has no program."""
    last: str | None = None
    found: list[str | None] = []
    for program in programs:
        found.append(last if program is not None else None)
        last = program if program is not None else last
    return found


def edits(programs: Sequence[str | None]) -> list[float | None]:
    """For each turn the chrF of its program to the one before it: 100 is a repetition, white space aside."""
    return [
        None if program is None or earlier is None else chrf(program, earlier)
        for program, earlier in zip(programs, earlier_programs(programs), strict=True)
    ]


def repeats(programs: Sequence[str | None]) -> list[bool | None]:
    """For each turn whether its program is, character by character, the one before it; None as in `edits`."""
    return [
        None if program is None or earlier is None else program == earlier
        for program, earlier in zip(programs, earlier_programs(programs), strict=True)
    ]


def repairs(episodes: Iterable[tuple[Sequence[str], bool]]) -> dict[tuple[int, str], tuple[int, int]]:
    """{(turn from 0, verdict): (solved later, all)} of the responses that failed and were followed by another turn.

    An episode is its verdicts, in lower case, and whether it was solved in the end. A last response is left out: it
    got no feedback, so there was nothing to repair it with. So is one that passed its tests and was played on from
    (without early stop).
    """
    counts: dict[tuple[int, str], tuple[int, int]] = {}
    for verdicts, solved in episodes:
        for turn, verdict in enumerate(verdicts[:-1]):
            if verdict != ACCEPTED:
                repaired, failed = counts.get((turn, verdict), (0, 0))
                counts[turn, verdict] = repaired + solved, failed + 1
    return counts
