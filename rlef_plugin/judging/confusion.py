"""What stored programs were said to be against what they were judged to be: a table, and the exceptions by name."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlef_plugin.judge import Verdict
from rlef_plugin.judging.stored import Outcome

FIRST = ("correct", "incorrect")  # rows; then the kinds of incorrect ones
LISTED = 30  # exceptions of a kind that are named
SHORT = {
    Verdict.WRONG_OUTPUT: "wrong",
    Verdict.OUT_OF_MEMORY: "memory",
    Verdict.OUTPUT_LIMIT: "output",
    Verdict.INVALID_CODE: "invalid",
}


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    console.print(Text("What the source says (rows) against what the judge says (columns)\n", style="dim"))
    console.print(_table(outcomes))
    for title, names in _exceptions(outcomes):
        if names:
            console.print(Text(f"\n{title} ({len(names)})", style="bold"))
            for name in names[:LISTED]:
                console.print(Text(f"  {name}"), soft_wrap=True)
            if len(names) > LISTED:
                console.print(Text(f"  and {len(names) - LISTED} more: --json lists all", style="dim"))
    wrong = sum(not one.agrees for one in outcomes)
    verdict = "all judged as their source says" if not wrong else f"{wrong} judged otherwise than their source says"
    programs = "1 program" if len(outcomes) == 1 else f"{len(outcomes)} programs"
    console.print(Text(f"\n{programs}: {verdict}", style="red" if wrong else "green"))


def _table(outcomes: Sequence[Outcome]) -> Table:
    """A row a label, a column a verdict that occurred; where they agree in green, where not in red."""
    counts = Counter((_label(one), one.verdict) for one in outcomes)
    columns = [verdict for verdict in Verdict if any(seen is verdict for _, seen in counts)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for verdict in columns:
        table.add_column(SHORT.get(verdict, verdict.label), justify="right")
    for label in sorted({label for label, _ in counts}, key=lambda name: (name not in FIRST, name)):
        cells = []
        for verdict in columns:
            agrees = (verdict is Verdict.ACCEPTED) == (label == "correct")
            number = counts[label, verdict]
            cells.append(Text(str(number), style="green" if agrees else "bold red") if number else Text("-", "dim"))
        table.add_row(label, *cells)
    return table


def _label(one: Outcome) -> str:
    if one.correct:
        return "correct"
    return one.said.replace("_", " ") if one.said else "incorrect"


def _exceptions(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[str]]]:
    ordered = sorted(outcomes, key=lambda one: (one.problem, one.index))
    yield "Correct by its label, not accepted", [_name(one) for one in ordered if one.correct and not one.agrees]
    yield "Incorrect by its label, accepted", [_name(one) for one in ordered if not one.correct and not one.agrees]
    yield (
        "Rejected with another verdict than its source gives",
        [
            f"{_name(one)}, not {one.said.replace('_', ' ')}"
            for one in ordered
            if one.agrees and one.said and one.said != one.verdict.name.lower()
        ],
    )


def _name(one: Outcome) -> str:
    """Such as `sum-of-two #3: timeout on private 2`."""
    where = f" on {one.test}" if one.test else ""
    return f"{one.problem} #{one.index}: {one.verdict.label}{where}"
