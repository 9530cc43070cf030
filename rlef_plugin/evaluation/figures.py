"""The plots of a report: one function a figure, from numbers that are computed elsewhere; matplotlib, no state.

Colours are Okabe and Ito's, which people with colour-blindness can tell apart, and each run has its own marker and
hatch beside its colour, so that a print in grey can be read too. Runs keep their colour through all figures.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.analyze import CHRF_BINS, Behaviour
from rlef_plugin.evaluation.intervals import Rate
from rlef_plugin.evaluation.score import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo")
INCHES = (6.4, 3.6)
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def solved_by_turn(runs: Sequence[tuple[str, Behaviour]]) -> "Figure":
    """Share of rollouts solved by each turn; no bar where it is not known."""
    groups = [[(rate.mean, rate) for rate in behaviour.solved_by_turn] for _, behaviour in runs]
    labels = [f"turn {turn + 1}" for turn in range(max(map(len, groups)))]
    return _bars([name for name, _ in runs], labels, groups, "solved by turn, % of rollouts")


def recovery(runs: Sequence[tuple[str, Behaviour]]) -> "Figure":
    """Share solved by the last turn, of the rollouts whose first response failed in each way."""
    kinds = list(dict.fromkeys(one.kind for _, behaviour in runs for one in behaviour.recovery))
    groups = []
    for _, behaviour in runs:
        found = {one.kind: one.solved_by_turn[-1] for one in behaviour.recovery if one.solved_by_turn}
        groups.append([(found[kind].mean, found[kind]) if kind in found else (0.0, None) for kind in kinds])
    labels = [kind.replace("_", "\n") for kind in kinds]
    return _bars([name for name, _ in runs], labels, groups, "solved later, %")


def errors_at_first_turn(runs: Sequence[tuple[str, Behaviour]]) -> "Figure":
    kinds = list(dict.fromkeys(one.kind for _, behaviour in runs for one in behaviour.recovery))
    groups = []
    for _, behaviour in runs:
        found = {one.kind: one.at_first_turn for one in behaviour.recovery}
        groups.append([(found[kind].mean, found[kind]) if kind in found else (0.0, None) for kind in kinds])
    return _bars([name for name, _ in runs], [k.replace("_", "\n") for k in kinds], groups, "% of first responses")


def chrf(runs: Sequence[tuple[str, Behaviour]]) -> "Figure":
    """Distribution of chrF between successive programs."""
    figure, axes = _axes("chrF of a program to the one before it (100 = repeated)", "% of programs")
    for run, (name, behaviour) in enumerate(runs):
        edges = [*CHRF_BINS, 100]
        values = [100 * share for share in behaviour.chrf_bins]
        axes.stairs(values, edges, color=COLOURS[run % 7], label=name, linewidth=2, fill=len(runs) == 1, alpha=0.9)
    axes.set_xlim(0, 100)
    _legend(axes, len(runs))
    return figure


def budgets(curves: Sequence[tuple[str, Sequence[Score]]]) -> "Figure":
    """Solve rate against samples, one line a curve, with its interval as a band."""
    figure, axes = _axes("responses sampled a problem", "solve rate, %")
    for place, (name, curve) in enumerate(curves):
        x, colour = [score.k for score in curve], COLOURS[place % 7]
        axes.plot(x, [100 * s.rate.mean for s in curve], marker=MARKERS[place % 7], color=colour, label=name)
        low, high = [100 * s.rate.low for s in curve], [100 * s.rate.high for s in curve]
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xscale("log", base=2)
    ticks = sorted({score.k for _, curve in curves for score in curve})
    axes.set_xticks([tick for tick in ticks if tick & (tick - 1) == 0 or tick == max(ticks)] or ticks)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    _legend(axes, len(curves))
    return figure


def svg(figure: "Figure") -> str:
    """The drawing alone, without an XML prologue, to stand in a page; text stays text: small, and searchable."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": figure.axes[0].get_ylabel()}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()


def _bars(
    names: Sequence[str], labels: Sequence[str], groups: Sequence[Sequence[tuple[float, Rate | None]]], y: str
) -> "Figure":
    figure, axes = _axes("", y)
    width = 0.8 / len(groups)
    for run, bars in enumerate(groups):
        x = [place + (run - (len(groups) - 1) / 2) * width for place in range(len(bars))]
        known = [(at, rate) for at, (_, rate) in zip(x, bars, strict=True) if rate and rate.problems]
        axes.bar(
            [at for at, _ in known],
            [100 * rate.mean for _, rate in known],
            width * 0.92,
            yerr=_whiskers([rate for _, rate in known]),
            color=COLOURS[run % 7],
            hatch=HATCHES[run % 7],
            edgecolor="white",
            error_kw={"elinewidth": 1, "capsize": 2},
            label=names[run],
        )
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylim(bottom=0)
    _legend(axes, len(groups))
    return figure


def _whiskers(rates: Sequence[Rate]) -> list[list[float]]:
    return [[100 * (r.mean - r.low) for r in rates], [100 * (r.high - r.mean) for r in rates]]


def _axes(x: str, y: str) -> tuple["Figure", Any]:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plots need matplotlib, which is not installed: pip install 'rlef-plugin[plots]'") from None
    with rc_context(STYLE):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
    return figure, axes


def _legend(axes: Any, entries: int) -> None:
    if entries > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9, frameon=False)
