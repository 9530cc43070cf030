"""The report's page: HTML from numbers, text escaped, style and script inlined from files beside this one."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rlef_plugin.evaluation.intervals import Rate
from rlef_plugin.evaluation.rollouts import Rollout, by_problem
from rlef_plugin.evaluation.score import incomplete

if TYPE_CHECKING:
    from rlef_plugin.evaluation.report import Run

HERE = Path(__file__).parent
CAPTIONS = {
    "solved": "Rollouts solved by each turn.",
    "budget": "Solve rate with one submission, chosen by the public tests, against all responses sampled.",
    "errors": "How first responses fail the public tests.",
    "recovery": "Of the rollouts whose first response failed so, the share solved by the last turn.",
    "chrf": "How similar a program is to the one before it in the same dialog.",
}
EXAMPLES = 4  # dialogs of each kind and run
INTERVALS = (
    "Intervals are 95% bootstrap intervals over problems, and exact binomial ones where all problems agree: they "
    "speak of other problems of the same kind."
)


def render(runs: Sequence["Run"], drawings: Mapping[str, str]) -> str:
    body = [
        "<h1>Execution feedback: " + escape(", ".join(run.name for run in runs)) + "</h1>",
        f'<p class="note">{INTERVALS}</p>',
        *_incomplete(runs),
        "<h2>Solve rates</h2>",
        _scores(runs),
        "<h2>The paper's rows beside these</h2>",
        *_published(runs),
        "<h2>Plots</h2>",
        '<div class="figures">',
        *(f"<figure>{svg}<figcaption>{CAPTIONS[name]}</figcaption></figure>" for name, svg in drawings.items()),
        "</div>",
        "<h2>Behaviour</h2>",
        _table(("share of rollouts, %", *(run.name for run in runs)), behaviour_rows(runs)),
        "<h2>Dialogs</h2>",
        _pager(),
        '<div id="dialogs">',
        *(dialog for run in runs for dialog in _dialogs(run)),
        "</div>",
        "<h2>Settings</h2>",
        _settings(runs),
    ]
    style, script = ((HERE / name).read_text() for name in ("report.css", "report.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Execution feedback</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>\n<body>\n'
        + "\n".join(body)
        + f"\n<script>{script}</script></body></html>\n"
    )


def rates(run: "Run") -> Iterator[tuple[str, Rate]]:
    """Every rate of a run with a short name, for tables and the CSV."""
    for one in run.scores:
        yield f"{one.name}, {one.turn_limit} turns", one.rate
    behaviour = run.behaviour
    yield from _known("solved by turn", behaviour.solved_by_turn, 1)
    for kind in behaviour.recovery:
        yield f"{_words(kind.kind)} at turn 1", kind.at_first_turn
        yield from _known(f"{_words(kind.kind)} at turn 1, solved by turn", kind.solved_by_turn, 2)
    yield "false hope (public tests pass, another fails)", behaviour.false_hope
    yield "responses without valid code", behaviour.invalid_code
    yield "programs repeated", behaviour.repeated


def _known(what: str, by_turn: Sequence[Rate], first: int) -> Iterator[tuple[str, Rate]]:
    """Of each turn from `first` on, and of the last one in any case."""
    for turn, rate in enumerate(by_turn, first):
        if rate.problems or turn == first + len(by_turn) - 1:
            yield f"{what} {turn}", rate


def differences(settings: Mapping[str, Any], problems: int, rollouts: int) -> list[str]:
    """What keeps an evaluation from being compared with the paper's tables; empty if nothing does.

    `rollouts` is the smallest number a problem has. What an older evaluation did not keep is taken to be as it should.
    """
    protocol = _paper()["protocol"]
    temperature, split = settings["temperature"], settings["split"]
    wanted = protocol["problems"].get(split)
    temperatures = list(protocol["temperature"].values())
    kept = {**settings, **settings["episode"]}
    found = [(key, kept.get(key, value), value) for key, value in protocol["exactly"].items()]
    unlike = [f"{key} is {_shown(value)}, not {_shown(theirs)}" for key, value, theirs in found if value != theirs]
    least = [(key, kept.get(key, value), value) for key, value in protocol["at_least"].items()]
    unlike += [f"{key} is {value}, not {theirs} or more" for key, value, theirs in least if value < theirs]
    if "repaired_by" in settings:
        unlike.append("two models were composed, not one evaluated")
    if temperature not in temperatures:
        unlike.append(f"temperature is {temperature}, not {' or '.join(map(str, temperatures))}")
    if problems != wanted:
        unlike.append(f"{problems} problems of split {split}, not {wanted or 'valid or test'}")
    if rollouts < protocol["rollouts"]:
        unlike.append(f"{rollouts} rollouts a problem, not {protocol['rollouts']}")
    return unlike


def _shown(value: Any) -> str:
    return "unset" if value in (None, "") else str(value)


def _incomplete(runs: Sequence["Run"]) -> Iterator[str]:
    for run in runs:
        if lacking := incomplete(run.rollouts, run.settings):
            yield f'<p class="note">{escape(f"{run.name}: {lacking}")}</p>'


def _scores(runs: Sequence["Run"]) -> str:
    rows = [
        (run.name, one.name, str(one.turn_limit), _percent(one.rate), _interval(one.rate), str(one.rate.problems))
        for run in runs
        for one in run.scores
    ]
    return _table(("run", "n@k", "turn limit", "solved, %", "95% interval", "problems"), rows)


def _published(runs: Sequence["Run"]) -> Iterator[str]:
    for run in runs:
        smallest = min(map(len, by_problem(run.rollouts).values()))
        unlike = differences(run.settings, run.behaviour.problems, smallest)
        verdict = f"is not the paper's protocol: {'; '.join(unlike)}"
        if not unlike:
            rows = [
                n_at_k for n_at_k, t in _paper()["protocol"]["temperature"].items() if t == run.settings["temperature"]
            ]
            verdict = f"follows the paper's protocol for {' and '.join(rows)}"
        yield f'<p class="note">{escape(run.name)} {escape(verdict)}.</p>'
    rows = [
        (row["model"], row["n_at_k"], *(f"{row[key][place]}" for place in (0, 1) for key in ("base", "rlef")))
        for row in _paper()["rows"]
    ]
    yield _table(("paper", "n@k", "valid, base", "valid, RLEF", "test, base", "test, RLEF"), rows)


PART = ", solved by"  # of a row's name: it is a part of the row before


def behaviour_rows(runs: Sequence["Run"]) -> list[tuple[str, ...]]:
    """A line a number, a column a run: for the page and for the terminal."""
    columns = [dict(rates(run)) for run in runs]
    names = _ordered(columns)
    rows = [(_short(name), *(_with_interval(column.get(name)) for column in columns)) for name in names]
    plain = (
        ("chrF to the program before, mean", "chrf_mean", "{:.1f}"),
        ("lines changed, share", "changed_lines", "{:.2f}"),
        ("turns, mean", "turns_mean", "{:.2f}"),
        ("CPU time of a program's slowest test, median s", "cpu_s_median", "{:.3f}"),
        ("memory of a program's largest test, median MB", "memory_mb_median", "{:.0f}"),
    )
    for label, field, form in plain:
        values = [getattr(run.behaviour, field) for run in runs]
        rows.append((label, *("–" if math.isnan(value) else form.format(value) for value in values)))
    return rows


def _ordered(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of all rows, in the order of the column that has the most; what belongs to a row follows it."""
    longest_first = sorted(columns, key=len, reverse=True)
    names = dict.fromkeys(name for column in longest_first for name in column if "@" not in name)
    owners = list(dict.fromkeys(name.partition(PART)[0] for name in names))
    return sorted(names, key=lambda name: owners.index(name.partition(PART)[0]))


def _short(name: str) -> str:
    """A line that follows the one it belongs to need not repeat it."""
    return f"… {name.partition(', ')[2]}" if PART in name else name


def _settings(runs: Sequence["Run"]) -> str:
    flat = [dict(_flatten(run.settings)) for run in runs]
    names = list(dict.fromkeys(name for one in flat for name in one))
    counted = ("rollouts played", *(str(run.behaviour.rollouts) for run in runs))
    rows = [(name, *(str(one.get(name, "–")) for one in flat)) for name in names]
    return _table(("setting", *(run.name for run in runs)), [counted, *rows])


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _pager() -> str:
    return (
        '<div class="pager" id="pager" hidden><button id="previous">Previous</button>'
        '<button id="next">Next</button><span id="place"></span></div>'
    )


def _dialogs(run: "Run") -> Iterator[str]:
    for kind, chosen in examples(run.rollouts):
        for one in chosen:
            yield _dialog(run.name, kind, one)


def examples(rollouts: Iterable[Rollout]) -> Iterator[tuple[str, list[Rollout]]]:
    """A few rollouts of each kind, each of another problem where there are enough."""
    kinds = {
        "repaired": lambda one: one.solved and not one.turns[0].public_passed,
        "false hope": lambda one: one.public_passed and not one.solved,
        "never solved": lambda one: not one.public_passed and len(one.turns) > 1,
        "solved at once": lambda one: one.solved and len(one.turns) == 1,
    }
    rollouts = sorted(rollouts, key=lambda one: one.index)  # first rollouts first: one of each problem
    for kind, belongs in kinds.items():
        yield kind, [one for one in rollouts if belongs(one)][:EXAMPLES]


def _dialog(run: str, kind: str, rollout: Rollout) -> str:
    title = f"{kind}: {rollout.problem}, rollout {rollout.index} of {run}"
    parts = [f'<div class="dialog"><h3>{escape(title)}</h3>']
    for place, message in enumerate(rollout.messages):
        verdict = _words(rollout.turns[place // 2].verdict) if message.role == "assistant" else ""
        who = f"model, turn {place // 2 + 1}: {verdict}" if verdict else "environment"
        parts.append(
            f'<div class="message {escape(message.role)}"><b>{escape(who)}</b><pre>{escape(message.text)}</pre></div>'
        )
    return "\n".join([*parts, "</div>"])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return (
        '<div class="wide"><table>'
        + "\n".join([line(heads, "th"), *(line(row, "td") for row in rows)])
        + "</table></div>"
    )


def _percent(rate: Rate) -> str:
    return "–" if math.isnan(rate.mean) else f"{100 * rate.mean:.1f}"


def _interval(rate: Rate) -> str:
    return "" if math.isnan(rate.mean) else f"{100 * rate.low:.1f} to {100 * rate.high:.1f}"


def _with_interval(rate: Rate | None) -> str:
    if rate is None or math.isnan(rate.mean):
        return "–"
    return f"{_percent(rate)} ({_interval(rate)})"


def _words(verdict: str) -> str:
    return verdict.replace("_", " ")


@cache
def _paper() -> dict[str, Any]:
    return dict(yaml.safe_load((HERE / "published.yaml").read_text()))
