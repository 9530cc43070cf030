"""Killed at any moment and started again: on from the last checkpoint, in the same order, to the same weights.

Deterministic here: the order of problems, which policy wrote what (synchronous training), the shuffle of each update,
arithmetic but for its last bits, and sampling, because `rollout.top_p` leaves one token to choose from. Not
deterministic in the host, and not promised: sampling with more tokens to choose from (vLLM's own generator starts
anew), asynchronous training (which policy wrote what depends on time), dynamic filtering (replacements in order of
endings).
"""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from cpu_training import Run, Tiny, command, processes_of, small, train, wait_for

from rlef_plugin.checkpoints import latest
from rlef_plugin.room import OPTIMIZER

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.host, pytest.mark.nsjail]

STEPS = 4  # 3 problems a step; of 11, the last step of a pass has 2: 3 + 3 + 3 + 2 with one update less
LAST_BITS = 1e-6  # a product's order of sums follows where its operands lie in memory; Adam moves weights by 5e-4
SETTINGS = [
    *small(data__max_samples=11, rollout__batch_size=3, rollout__micro_batch_size=2, train__batch_size=2),
    "rollout.top_p=1.0e-6",
    "algo.advantage.is_correction_level=off",
    "ckpt.save_steps=1",
    "ckpt.load_enable=true",
]


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("undisturbed"), tiny, *SETTINGS)


def process_titled(work: Path, title: str) -> int:
    """A process of this run by what Ray or vLLM calls it."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if title in (folder / "cmdline").read_text() and str(work) in (folder / "environ").read_text():
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"no process {title!r} of {work}")


def killed(work: Path, tiny: Tiny, title: str | None, after: int) -> None:
    """Start (or go on), wait for the checkpoint after step `after`, kill one process or, with None, the driver."""
    log = work / f"killed-{after}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(work, tiny, *SETTINGS), stdout=output, stderr=subprocess.STDOUT, cwd=work, start_new_session=True
        )
    whole = work / "checkpoints" / "_critic" / f"global_step{after}" / "metric.json"
    wait_for(lambda: whole.is_file() or process.poll() is not None, 600)
    assert process.poll() is None, f"ended before it was killed:\n{log.read_text(errors='replace')[-4000:]}"
    os.kill(process_titled(work, title) if title else process.pid, signal.SIGKILL)
    assert process.wait(timeout=300) != 0, f"{title} was killed, and the run ended as if nothing were"
    wait_for(lambda: not processes_of(work), 180)  # agents of a killed Ray look for it only now and then
    assert processes_of(work) == [], f"left behind after {title or 'the driver'} was killed"


def test_a_checkpoint_is_as_large_as_is_told_before_a_run(undisturbed: Run) -> None:
    """`room.OPTIMIZER` bytes of each parameter beside its weight, which is in float32 on the CPU host."""
    folder = undisturbed.work / "checkpoints" / "_actor" / f"global_step{STEPS}"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    parameters = sum(one.numel() for one in undisturbed.weights().values())
    assert size == pytest.approx((4 + OPTIMIZER) * parameters, rel=0.01)


def test_killed_three_times_and_still_the_same_weights(undisturbed: Run, tiny: Tiny, tmp_path: Path) -> None:
    """The rollout actor after step 1, the trainer after step 2, the driver after step 3."""
    killed(tmp_path, tiny, "ray::RolloutRayActor", after=1)
    killed(tmp_path, tiny, "ray::Trainer", after=2)
    killed(tmp_path, tiny, None, after=3)
    assert latest(tmp_path / "checkpoints") in ("global_step3", "global_step4")
    run = train(tmp_path, tiny, *SETTINGS)
    assert re.search(r"going on from checkpoint global_step[34]", run.log)
    assert [step["step"] for step in undisturbed.metrics] == list(range(1, STEPS + 1))
    problems = [[row["labels"] for row in undisturbed.rows(step)] for step in range(STEPS)]
    assert [[row["labels"] for row in run.rows(step)] for step in range(STEPS)] == problems
    for model in ("model-out", "model-out_critic"):
        expected = undisturbed.weights(model)
        for name, tensor in run.weights(model).items():
            difference = float((tensor - expected[name]).abs().max())
            assert difference < LAST_BITS, f"{model} {name} differs by {difference}"
