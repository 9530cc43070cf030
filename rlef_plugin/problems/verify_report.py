"""The results of `rlef data verify` as a person reads them."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlef_plugin.problems.judged import Judged, saving, unsound

SHOWN = 20


def show(judged: Mapping[str, Judged], min_accepted: float, console: Console) -> None:
    """Sums, and the problems with something to look at, worst first."""
    problems = list(judged.values())
    _rates(problems, console)
    tests = sum(one.tests for one in problems)
    kinds = ("unpassed", "slow", "idle")
    unpassed, slow, idle = (sum(len(getattr(one, kind)) for one in problems) for kind in kinds)
    console.print(
        f"{tests:,} tests: {unpassed:,} that no correct program passes, {slow:,} that all take too long for, "
        f"{idle:,} that fail no program"
    )
    reasons = {one.id: unsound(one, min_accepted) for one in problems}
    console.print(
        f"{len(problems):,} problems: {sum(map(bool, reasons.values())):,} unsound, "
        f"{sum(one.doubtful for one in problems):,} doubtful, "
        f"{sum(not one.usable and not one.checker for one in problems):,} unverified (no correct program)"
    )
    _saving(problems, console)
    reasons |= {one.id: "doubtful" for one in problems if one.doubtful and not reasons[one.id]}
    worst = [one for one in problems if reasons[one.id] or one.unpassed or one.slow]
    if worst:
        worst.sort(key=lambda one: (not reasons[one.id], one.doubtful, -len(one.unpassed)))
        console.print(_table(worst[:SHOWN], reasons, len(worst)))


def _rates(problems: list[Judged], console: Console) -> None:
    right, wrong = (sum(len(getattr(one, kind)) for one in problems) for kind in ("correct", "incorrect"))
    accepted, rejected = sum(one.accepted for one in problems), sum(one.rejected for one in problems)
    console.print(
        f"{right:,} correct programs, {_percent(accepted, right)} accepted; "
        f"{wrong:,} incorrect ones, {_percent(rejected, wrong)} rejected"
    )
    unsampled = sum(one.not_sampled for one in problems)
    if unsampled:
        console.print(f"{unsampled:,} programs were not judged (--programs)")


def _saving(problems: list[Judged], console: Console) -> None:
    found = saving(problems)
    if found["before"]:
        console.print(
            f"ordered by the other half of the wrong programs, {found['programs']:,} wrong programs that pass the "
            f"public tests take {found['after']:,} private tests instead of {found['before']:,} "
            f"({_percent(found['before'] - found['after'], found['before'])} saved)"
        )


def _table(problems: list[Judged], reasons: Mapping[str, str], total: int) -> Table:
    table = Table(title=f"To look at: {len(problems)} of {total} problems", title_justify="left", box=None)
    for name, style in (("problem", ""), ("right", ""), ("wrong", ""), ("unpassed", ""), ("why", "red")):
        numeric = name in ("right", "wrong", "unpassed")
        table.add_column(name, style=style, justify="right" if numeric else "left", no_wrap=numeric)
    for one in problems:
        table.add_row(
            one.id,
            f"{one.accepted}/{len(one.correct)}",
            f"{one.rejected}/{len(one.incorrect)}",
            f"{len(one.unpassed)}/{one.tests}",
            escape(one.checker or reasons[one.id]),
        )
    return table


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
