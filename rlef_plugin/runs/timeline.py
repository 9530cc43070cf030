"""Where the seconds of a step went. Episodes overlap, so what they did is counted as intervals, not added up.

Of the rollout phase, which is one stretch of wall time (start, end):

    generating   some response is being sampled: the union of all [request, answer] of the engines
    judging      no response is being sampled, and some program is being judged: the rest waits for the judge alone
    other        neither: dispatch, feedback text, tokens, transport

These three add up to the phase. The intervals are clocked where they happen, in the rollout actors, by the wall clock
(`time.time`), so over several nodes they are as exact as the nodes' clocks agree.

The trainer's own step is a sequence of parts (`Clock`). It begins when the step before is logged, so what comes after
an update (trackers, checkpoint, evaluation) counts in the next step. What passes before a batch is there is `rollout`,
the phase itself, or in asynchronous training `waiting` for one that is made meanwhile. There it also is `waiting` what
passes until vLLM, which is generating, can take new weights.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rlef_plugin.runs.episodes import mean

Interval = tuple[float, float]  # start and end, unix seconds

PARTS = ("rollout", "waiting", "episodes", "forward", "advantages", "update", "weight_sync", "saving", "evaluation")
MAX_CHECKER_ERRORS = 0.01  # of a step's programs, without an alarm
NAMED_PROBLEMS = 8  # of an alarm
OVERHEAD = ("episodes", "saving", "other")  # of PARTS and what they leave: neither rollout nor training nor evaluation


def union_s(intervals: Iterable[Interval], window: Interval) -> float:
    """Seconds of the window that some interval covers."""
    covered, until = 0.0, window[0]
    for start, end in sorted(intervals):
        start, end = max(start, until), min(end, window[1])
        if start < end:
            covered, until = covered + end - start, end
    return covered


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout phase: its window, and what every episode that ended in it did, also those filtered out."""

    window: Interval
    generating: tuple[Interval, ...]  # of each response
    judging: tuple[Interval, ...]  # of each program, from its submission to its verdict
    running_s: tuple[float, ...]  # of each program: wall time its tests ran
    workers: int  # programs that all judges together can run at a time
    broken_checkers: tuple[str, ...] = ()  # the problem of each program that its checker failed on
    checker_errors: int = 0  # outputs of these programs that it failed on
    killed: int = 0  # tests whose jail the kernel ended at every try

    @classmethod
    def of(cls, window: Interval, records: Sequence[dict[str, Any]]) -> "Rollout":
        turns = [turn for record in records for turn in record["turns"]]
        judged = [turn for turn in turns if turn["code"] is not None]
        return cls(
            window,
            tuple((turn["generated_at_unix_s"], turn["generated_at_unix_s"] + turn["generate_s"]) for turn in turns),
            tuple((turn["judged_at_unix_s"], turn["judged_at_unix_s"] + turn["judge_s"]) for turn in judged),
            tuple(turn["run_s"] for turn in judged),
            sum({record["judge"]: record["judge_workers"] for record in records}.values()),
            tuple(record["problem"] for record in records for turn in record["turns"] if turn["checker_errors"]),
            sum(turn["checker_errors"] for turn in turns),
            sum(turn["killed"] for turn in turns),
        )

    def metrics(self) -> dict[str, float]:
        """The partition of the phase, how busy the judge was, and what a program cost in it."""
        wall_s = self.window[1] - self.window[0]
        generating_s = union_s(self.generating, self.window)
        working_s = union_s((*self.generating, *self.judging), self.window)
        judged_s = [end - start for start, end in self.judging]
        capacity_s = wall_s * self.workers
        return {
            "rollout_s/wall": wall_s,
            "rollout_s/generating": generating_s,
            "rollout_s/judging": working_s - generating_s,
            "rollout_s/other": wall_s - working_s,
            "judge/seconds": mean(judged_s),
            "judge/waiting_seconds": mean(
                all_s - run_s for all_s, run_s in zip(judged_s, self.running_s, strict=True)
            ),
            "judge/in_flight": sum(judged_s) / wall_s if wall_s else math.nan,
            "judge/utilisation": sum(self.running_s) / capacity_s if capacity_s else math.nan,
            "judge/checker_errors": float(self.checker_errors),
            "judge/checker_error_share": self._checker_error_share,
            "judge/killed": float(self.killed),
        }

    def alarm(self) -> str:
        """One sentence with the problems whose checkers failed on too many programs; "" if they did not."""
        if not self._checker_error_share > MAX_CHECKER_ERRORS:  # also for nan
            return ""
        worst = Counter(self.broken_checkers).most_common()
        named = ", ".join(f"{problem} ({count})" for problem, count in worst[:NAMED_PROBLEMS])
        more = f" and {len(worst) - NAMED_PROBLEMS} more problems" if len(worst) > NAMED_PROBLEMS else ""
        return (
            f"{len(self.broken_checkers)} of {len(self.judging)} programs of this step count as wrong because their "
            f"problem's checker failed on them: repair the checkers of {named}{more}, and build the store again"
        )

    @property
    def _checker_error_share(self) -> float:
        return len(self.broken_checkers) / len(self.judging) if self.judging else math.nan


@dataclass
class Clock:
    """The parts of the trainer's step that is going on; parts must not overlap."""

    started: float = field(default_factory=time.monotonic)
    spent_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.took(name, time.monotonic() - started)

    def took(self, name: str, seconds: float) -> None:
        self.spent_s[name] += seconds

    def rest_was(self, name: str) -> None:
        """What no part accounts for so far."""
        self.spent_s[name] += time.monotonic() - self.started - sum(self.spent_s.values())

    def lap(self, idle_s: float) -> dict[str, float]:
        """The finished step as metrics; the next one starts now. `idle_s` of the rollout part count as overhead."""
        now = time.monotonic()
        spent_s, wall_s = self.spent_s, now - self.started
        self.started, self.spent_s = now, dict.fromkeys(PARTS, 0.0)
        spent_s["other"] = wall_s - sum(spent_s.values())
        overhead_s = sum(spent_s[name] for name in OVERHEAD) + idle_s
        return {
            "step_s/wall": wall_s,
            **{f"step_s/{name}": spent for name, spent in spent_s.items()},
            "overhead_share": overhead_s / max(wall_s - spent_s["evaluation"], 1e-9),
        }
