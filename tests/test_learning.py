"""Does training still learn? The short version of the micro-world (`rlef learn --short`), one seed, the whole stack.

A healthy run falls below one of the thresholds less than once in 1,000 times, and a run with the advantage's sign
flipped, the feedback dropped or the critic's mask wrong does: benchmarks/learning_seeds.py, whose numbers are in
benchmarks/results/learning.md. Guessing blindly solves 0.33 within three turns.
"""

from pathlib import Path

import pytest
from rich.console import Console

from rlef_plugin.micro import learn, results
from rlef_plugin.runs.files import read_metrics

SOLVED, EXPLAINED_VARIANCE = 0.45, 0.15


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.nsjail
def test_training_learns_to_use_feedback(tmp_path: Path) -> None:
    learning = learn.Learning(tmp_path, seeds=(0,), arms=("rlef",), overrides=(), short=True)
    learn.learn(learning, tmp_path / "results", Console(quiet=True))
    found = results.learned(read_metrics(tmp_path / "seed-0" / "rlef"))
    assert found["solved"] > SOLVED, f"the policy does not learn: {found}"
    assert found["explained_variance"] > EXPLAINED_VARIANCE, f"the critic does not learn: {found}"
