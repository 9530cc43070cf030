"""A small recorded run for tests of `rlef watch` and `rlef show`: six steps, two of them evaluated and kept."""

import math
from pathlib import Path

from run_records import INVALID, OK, SLOW, WRONG, episode

from rlef_plugin.judge.verdicts import Verdict
from rlef_plugin.runs.episodes import episode_metrics
from rlef_plugin.runs.files import EVALUATIONS, RunFolder
from rlef_plugin.runs.timeline import Clock, Rollout

STEPS, PLANNED = 6, 8


def write_run(folder: Path) -> Path:
    """Made by the code that training uses, of episodes that get better from step to step."""
    out = RunFolder(folder, rollouts_every=3)
    out.write_plan(PLANNED, turn_limit=3)
    for step in range(1, STEPS + 1):
        lost: list[Verdict] = [INVALID if step < 3 else WRONG, SLOW, WRONG]
        records = [episode([OK], public=True, problem="sum-of-two")] * step
        records += [episode([WRONG, OK], public=True, problem="clap-game", codes=["print(1)", "print(2)"])]
        records += [episode(lost, public=False, problem="box-prices", cut=(2,))] * (7 - step)
        status = episode_metrics(records, 3) | Rollout.of((1000.0, 1030.0), records).metrics() | Clock().lap(0.0)
        learner = {"learner/value_error": 1 / step, "learner/explained_variance": math.nan if step == 1 else 0.5}
        host = {"rollout/reward_mean": step / 6 - 1, "turn_kl": step / 100, "ppo_clip_ratio": 0.01}
        seconds = {"step_s/wall": 60.0, "step_s/rollout": 30.0, "step_s/update": 24.0, "step_s/forward": 6.0}
        out.write_metrics(step, {**status, **learner, **host, **seconds, "overhead_share": 0.03})
        if out.keeps(step):
            out.write_episodes(step, records)
        if step % 3 == 0:
            out.write_metrics(step, {"eval_valid_pass1": step / 12}, EVALUATIONS)
    return folder
