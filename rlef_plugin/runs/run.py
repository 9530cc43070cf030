"""A run's folder as it is at this moment: curves, means of the latest steps, the pace."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlef_plugin.runs import files
from rlef_plugin.runs.charts import finite_mean


@dataclass(frozen=True)
class Run:
    """A run's folder as it is at this moment."""

    folder: Path
    steps: list[dict[str, float]]
    evaluations: list[dict[str, float]]
    plan: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        steps, evaluations = files.read_metrics(folder), files.read_metrics(folder, files.EVALUATIONS)
        return cls(folder, steps, evaluations, files.read_plan(folder))

    @property
    def turns(self) -> int:
        keys = {key for step in self.steps for key in step}
        return sum(key.startswith("episode/solve_rate_turn") for key in keys)

    @property
    def window(self) -> int:
        """Steps over which `first` and `now` are means."""
        return max(1, min(10, len(self.steps) // 4))

    def curve(self, key: str) -> list[float]:
        return [step.get(key, math.nan) for step in self.steps]

    def now(self, key: str) -> float:
        return finite_mean(self.curve(key)[-self.window :])

    @property
    def step_s(self) -> float:
        """The usual time from one step to the next; NaN before the second."""
        times = self.curve("unix_time_s")[-20:]
        return statistics.median(
            [b - a for a, b in zip(times, times[1:], strict=False) if math.isfinite(b - a)] or [math.nan]
        )

    @property
    def evaluation_key(self) -> str | None:
        """The pass rate of the first evaluated data set."""
        keys = sorted(key for line in self.evaluations for key in line if key.endswith("_pass1"))
        return keys[0] if keys else None
