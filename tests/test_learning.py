"""Does training still learn? The short version of the micro-world (`rlef learn --short`), one seed, the whole stack.

Guessing blindly solves 0.33 within three turns, the start 0.43 to 0.46; two healthy runs reached 0.61 and 0.66 with
0.47 and 0.22 of the variance explained, one with the advantage's sign flipped 0.32 and 0.02. The thresholds are
provisional until benchmarks/learning_seeds.py has measured the spread over ten seeds, and what a run reaches in which
the feedback is dropped or the critic trained at the wrong token.
"""

from pathlib import Path

import pytest
from rich.console import Console

from rlef_plugin.micro import learn, results
from rlef_plugin.runs.files import read_metrics

SOLVED, EXPLAINED_VARIANCE = 0.45, 0.08


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.nsjail
def test_training_learns_to_use_feedback(tmp_path: Path) -> None:
    learning = learn.Learning(tmp_path, seeds=(0,), arms=("rlef",), overrides=(), short=True)
    learn.learn(learning, tmp_path / "results", Console(quiet=True))
    found = results.learned(read_metrics(tmp_path / "seed-0" / "rlef"))
    assert found["solved"] > SOLVED, f"the policy does not learn: {found}"
    assert found["explained_variance"] > EXPLAINED_VARIANCE, f"the critic does not learn: {found}"
