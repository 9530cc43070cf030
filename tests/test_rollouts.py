"""What a step reports of its episodes, against numbers worked out by hand, and what it keeps on disk."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from run_records import INVALID, OK, SLOW, WRONG, episode

from rlef_plugin.errors import UsageError
from rlef_plugin.judge import Verdict
from rlef_plugin.openrlhf_ext.rollouts import solve_rates
from rlef_plugin.runs import files
from rlef_plugin.runs.episodes import episode_metrics, mean
from rlef_plugin.runs.files import RunFolder

# Four episodes: solved in turn 1; false hope in turn 1; solved in turn 3; never, with the program of turn 1 again in
# turn 2 and its second response cut.
EPISODES = [
    episode([OK], public=True),
    episode([WRONG], public=True),
    episode([INVALID, SLOW, OK], public=True, codes=[None, "abcd", "abc"]),
    episode([WRONG, SLOW, SLOW], public=False, codes=["a", "a", "b"], cut=(1,)),
]


def test_episode_metrics_by_hand() -> None:
    metrics = episode_metrics(EPISODES, 3)
    assert metrics["episode/solve_rate"] == 2 / 4
    assert metrics["episode/false_hope"] == 1 / 4  # passed every public test, and failed a private one
    assert metrics["episode/turns"] == (1 + 1 + 3 + 3) / 4
    assert metrics["episode/invalid_code"] == metrics["episode/truncated"] == 1 / 8  # of all responses
    assert metrics["episode/repair_rate"] == 1 / 2  # of the two that got feedback
    assert [metrics[f"episode/solve_rate_turn{turn}"] for turn in (1, 2, 3)] == [1 / 4, 1 / 4, 2 / 4]


def test_verdict_shares_are_of_the_episodes_that_got_there() -> None:
    metrics = episode_metrics(EPISODES, 3)
    shares = {key: value for key, value in metrics.items() if key.startswith("verdict_") and value}
    assert shares == {
        "verdict_turn1/accepted": 1 / 4,
        "verdict_turn1/wrong_output": 2 / 4,
        "verdict_turn1/invalid_code": 1 / 4,
        "verdict_turn2/timeout": 2 / 2,
        "verdict_turn3/accepted": 1 / 2,
        "verdict_turn3/timeout": 1 / 2,
    }


def test_repair_rates_are_of_the_failures_that_got_feedback() -> None:
    metrics = episode_metrics(EPISODES, 3)
    rates = {key: v for key, v in metrics.items() if key.startswith("repair_") and not math.isnan(v)}
    assert rates == {
        "repair_turn1/wrong_output": 0 / 1,  # the false hope got none
        "repair_turn1/invalid_code": 1 / 1,
        "repair_turn2/timeout": 1 / 2,
    }


def test_programs_and_lengths_by_hand() -> None:
    metrics = episode_metrics(EPISODES, 3)
    assert metrics["program/repeated_turn2"] == 1.0  # one pair: a, a; the other episode's turn 1 has no program
    assert metrics["program/repeated_turn3"] == 0 / 2
    assert metrics["program/chrf_turn2"] == pytest.approx(100)
    # abc against abcd: P = 1, R = (3/4 + 2/3 + 1/2) / 3 = 23/36, 5PR / (4P + R) = 115/167; b against a: 0
    assert metrics["program/chrf_turn3"] == pytest.approx(100 * 115 / 167 / 2)
    assert [metrics[f"response_tokens/turn{turn}"] for turn in (1, 2, 3)] == [10, 11, 12]
    assert [metrics[f"feedback_tokens/turn{turn}"] for turn in (1, 2)] == [7, 8]


def test_the_same_keys_every_step_and_nan_for_a_share_of_nothing() -> None:
    first, second = episode_metrics(EPISODES, 3), episode_metrics(EPISODES[:2], 3)
    assert list(first) == list(second)
    assert len(first) == 6 + 3 * (1 + len(Verdict) + 1) + 2 * (len(Verdict) - 1) + 2 * 2 + 2
    later = [value for key, value in second.items() if key.startswith(("verdict_turn2", "program", "repair"))]
    assert all(math.isnan(value) for value in later)
    assert second["episode/solve_rate_turn3"] == 1 / 2  # of all episodes, also those that ended before


def test_the_metrics_do_not_depend_on_the_order() -> None:
    forth, back = episode_metrics(EPISODES, 3), episode_metrics(EPISODES[::-1], 3)
    assert forth == pytest.approx(back, nan_ok=True)


def test_one_turn_has_no_keys_of_later_ones() -> None:
    metrics = episode_metrics(EPISODES[:2], 1)
    assert not [key for key in metrics if "turn2" in key or "repair_turn" in key or "feedback" in key]


def test_mean_of_what_is_there() -> None:
    assert mean([1.0, None, 2.0]) == 1.5
    assert math.isnan(mean([None])) and math.isnan(mean([]))


# --- evaluation


def sample(verdicts: list[Verdict], *, public: bool, prompt: str = "p", limit: int = 3) -> Any:
    """An episode as the host hands it over: batch size 1."""
    info = {"turn_verdicts": torch.full((1, limit), -1.0)}
    solved = float(verdicts[-1] == OK)
    record = episode(verdicts, public=public, problem=prompt)
    return SimpleNamespace(info=info, scores=torch.tensor([solved]), prompts=[prompt], labels=[prompt], record=record)


def loader(**sources: list[str]) -> list[tuple[list[str], list[str], list[str], list[None]]]:
    """Batches of one, as the host's evaluation loader gives them."""
    return [([source], [prompt], [prompt], [None]) for source, prompts in sources.items() for prompt in prompts]


def test_solve_rates_by_hand() -> None:
    # valid: x solved in 1 of 2 samples, y in none; test: z in both.
    samples = [
        sample([OK], public=True, prompt="x"),
        sample([WRONG, WRONG, WRONG], public=False, prompt="x"),
        sample([OK], public=True, prompt="z"),
        sample([WRONG, OK], public=True, prompt="z"),
        sample([WRONG], public=True, prompt="y"),
        sample([SLOW, SLOW, SLOW], public=False, prompt="y"),
    ]
    logs = solve_rates(loader(valid=["x", "y"], test=["z"]), samples, 2)
    assert logs["eval_valid_pass1"] == (0.5 + 0.0) / 2
    assert logs["eval_valid_pass2"] == (1 + 0) / 2
    assert logs["eval_test_pass1"] == logs["eval_test_pass2"] == 1.0
    assert logs["eval_num_samples"] == 6.0
    assert logs["eval_episode/solve_rate"] == 3 / 6
    assert logs["eval_episode/false_hope"] == pytest.approx(1 / 6)
    assert logs["eval_verdict_turn2/accepted"] == pytest.approx(1 / 3)  # of the three that played it
    assert {type(value) for value in logs.values()} == {float}


def test_a_group_is_the_samples_of_one_prompt() -> None:
    """3 + 3 samples: pass@3 is 1 for one problem and 0 for the other. Groups of 2 would say 1, 0 and 0."""
    samples = [sample([OK], public=True, prompt="x")] + [sample([WRONG], public=False, prompt="x")] * 2
    samples += [sample([WRONG], public=False, prompt="y")] * 3
    logs = solve_rates(loader(valid=["x", "y"]), samples, 3)
    assert logs["eval_valid_pass3"] == 1 / 2
    assert logs["eval_valid_pass1"] == pytest.approx(1 / 6)


def test_one_sample_a_prompt() -> None:
    logs = solve_rates(loader(valid=["x", "y"]), [sample([OK], public=True, prompt=p) for p in "xy"], 1)
    assert logs["eval_valid_pass1"] == 1.0


def test_rewards_of_minus_one_are_no_pass_rates() -> None:
    """The host averages rewards; a problem that is never solved must count 0 and not -1."""
    assert solve_rates(loader(valid=["x"]), [sample([WRONG], public=False, prompt="x")], 1)["eval_valid_pass1"] == 0.0


def test_no_samples_no_metrics() -> None:
    assert solve_rates(loader(valid=["x"]), [], 2) == {}


def test_a_prompt_of_no_known_source() -> None:
    logs = solve_rates([], [sample([OK], public=True)], 1)
    assert logs["eval_unknown_pass1"] == 1.0


# --- the record


def test_a_record_holds_what_dialogs_analysis_and_replays_read() -> None:
    kept = EPISODES[2]
    assert {key: kept[key] for key in ("problem", "solved", "public_passed", "judge_workers")} == {
        "problem": "p",
        "solved": True,
        "public_passed": True,
        "judge_workers": 4,
    }
    assert [turn["verdict"] for turn in kept["turns"]] == ["invalid_code", "timeout", "accepted"]
    assert [turn["reward"] for turn in kept["turns"]] == [-0.2, 0.0, 1.0]
    assert [turn["code"] for turn in kept["turns"]] == [None, "abcd", "abc"]
    second = kept["turns"][1]
    times = {key: second[key] for key in ("generated_at_unix_s", "generate_s", "judged_at_unix_s", "judge_s", "run_s")}
    assert list(times.values()) == [1010.0, 3.0, 1013.0, 2.0, 0.5]
    assert (second["cpu_s"], second["memory_mb"], second["truncated"]) == (0.25, 9.0, False)
    assert [message["role"] for message in kept["messages"]] == ["environment", "model"] * 3
    assert [message["tokens"] for message in kept["messages"]] == [50, 10, 7, 11, 8, 12]
    assert kept["messages"][0]["text"] == "Solve it."
    assert json.loads(json.dumps(kept)) == kept


# --- what is kept


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_file_has_a_line_a_step(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run" / "rlef", 0)
    folder.write_metrics(1, {"loss": 0.5, "n": 4, "generated_samples": ["text", 1.0], "tensor": torch.tensor(1.0)})
    folder.write_metrics(2, {"loss": 0.25, "share": math.nan, "far": math.inf})
    written = lines(tmp_path / "run" / "rlef" / "metrics.jsonl")
    assert all(line.pop("unix_time_s") > 1e9 for line in written)
    assert written == [{"step": 1, "loss": 0.5, "n": 4}, {"step": 2, "loss": 0.25, "share": None, "far": None}]


def test_a_line_that_a_kill_cut_in_half_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    RunFolder(tmp_path, 0).write_metrics(2, {"loss": 0.5})
    assert [(step["step"], step["loss"]) for step in files.read_metrics(tmp_path)] == [(1, 1.0), (2, 0.5)]


def test_reading_passes_over_what_is_no_step(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(
        b'{"step": 2, "loss": 3, "name": "x", "list": [1]}\n'
        b'\xff\xfe garbage\n[1, 2]\n\n{"loss": 9}\n'
        b'{"step": 1, "loss": null, "high": NaN}\n'
        b'{"step": 2, "loss": 4}\n'  # made again after a resume
        b'{"step": 3, "los'
    )
    first, second = files.read_metrics(tmp_path)
    assert (second["step"], second["loss"]) == (2, 4)
    assert math.isnan(first["loss"]) and math.isnan(first["high"])
    assert files.read_metrics(tmp_path / "nowhere") == []


def test_what_a_run_made_before_it_went_on_from_an_earlier_step_counts_no_more(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, 2)
    for step, loss in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (3, 3.0)):  # killed after step 4, on from step 2
        if folder.keeps(step):
            folder.write_episodes(step, EPISODES[:1])
        folder.write_metrics(step, {"loss": loss})
    assert [step["loss"] for step in files.read_metrics(tmp_path)] == [0.1, 0.2, 3.0]
    assert files.kept_steps(tmp_path) == [2]
    folder.write_metrics(1, {"loss": 9.0})  # a new run in the same folder
    assert [step["loss"] for step in files.read_metrics(tmp_path)] == [9.0]
    assert files.kept_steps(tmp_path) == []


def test_a_run_is_found_in_its_folder_or_right_below(tmp_path: Path) -> None:
    RunFolder(tmp_path / "out" / "rlef", 0).write_plan(7, 3)
    assert files.find_run(tmp_path / "out") == files.find_run(tmp_path / "out" / "rlef") == tmp_path / "out" / "rlef"
    assert files.read_plan(tmp_path / "out" / "rlef")["steps"] == 7
    assert files.read_plan(tmp_path) == {}
    with pytest.raises(UsageError, match="no run at .*nowhere"):
        files.find_run(tmp_path / "nowhere")


@pytest.mark.parametrize("every, kept", [(1, [1, 2, 3, 4]), (2, [2, 4]), (10, []), (0, [])])
def test_every_nth_step_is_kept(every: int, kept: list[int]) -> None:
    assert [step for step in (1, 2, 3, 4) if RunFolder(Path(), every).keeps(step)] == kept


def test_episodes_come_back_as_they_were(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, 1)
    folder.write_episodes(3, EPISODES[:1])
    folder.write_episodes(12, EPISODES)
    assert files.kept_steps(tmp_path) == [3, 12]
    step, kept = files.read_episodes(tmp_path)
    assert (step, [one.pop("step") for one in kept]) == (12, [12] * 4)
    assert kept == EPISODES
    assert len(files.read_episodes(tmp_path, 3)[1]) == 1
    with pytest.raises(UsageError, match="no episodes of step 4: choose one of 3, 12"):
        files.read_episodes(tmp_path, 4)
    with pytest.raises(UsageError, match="rollouts_every"):
        files.read_episodes(tmp_path / "rollouts")


def test_a_step_that_fails_while_it_is_written_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        RunFolder(tmp_path, 1).write_episodes(1, [EPISODES[0], {"not": object()}])
    assert not list((tmp_path / "rollouts").glob("*.jsonl"))
