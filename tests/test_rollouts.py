"""What a step reports of its episodes, against numbers worked out by hand, and what it keeps on disk."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_tokenizers import family_tokenizer

from rlef_plugin.config import RlefConfig
from rlef_plugin.env import Dialog
from rlef_plugin.judge import Verdict
from rlef_plugin.openrlhf_ext.rollouts import TURN_LISTS, RunLog, episode_metrics, record, solve_rates

OK, WRONG, SLOW, INVALID = Verdict.ACCEPTED, Verdict.WRONG_OUTPUT, Verdict.TIMEOUT, Verdict.INVALID_CODE


def sample(verdicts: list[int], *, public: bool, prompt: str = "p", limit: int = 3, **more: Any) -> Any:
    """An episode as the host hands it over: batch size 1, one tensor a log key."""
    solved = float(verdicts[-1] == OK)
    rewards = [0.0] * (len(verdicts) - 1) + [2 * solved - 1]
    unplayed = limit - len(verdicts)
    info = {
        "solved": torch.tensor([solved]),
        "public_passed": torch.tensor([float(public)]),
        "turns": torch.tensor([float(len(verdicts))]),
        "turn_rewards": torch.tensor([rewards + [0.0] * unplayed]),
        "turn_verdicts": torch.tensor([[float(v) for v in verdicts] + [-1.0] * unplayed]),
    }
    return SimpleNamespace(info=info, scores=torch.tensor([solved]), prompts=[prompt], labels=[prompt], **more)


# Four episodes: solved in turn 1; false hope in turn 1; solved in turn 3; never.
EPISODES = [
    sample([OK], public=True),
    sample([WRONG], public=True),
    sample([INVALID, SLOW, OK], public=True),
    sample([WRONG, SLOW, SLOW], public=False),
]


def test_episode_metrics_by_hand() -> None:
    metrics = episode_metrics(EPISODES)
    assert metrics["episode/solve_rate"] == 2 / 4
    assert metrics["episode/false_hope"] == 1 / 4  # passed every public test, and failed a private one
    assert metrics["episode/turns"] == (1 + 1 + 3 + 3) / 4
    assert [metrics[f"episode/solve_rate_turn{turn}"] for turn in (1, 2, 3)] == [1 / 4, 1 / 4, 2 / 4]


def test_verdict_shares_are_of_the_episodes_that_got_there() -> None:
    metrics = episode_metrics(EPISODES)
    shares = {key: value for key, value in metrics.items() if key.startswith("verdict_") and value}
    assert shares == {
        "verdict_turn1/accepted": 1 / 4,
        "verdict_turn1/wrong_output": 2 / 4,
        "verdict_turn1/invalid_code": 1 / 4,
        "verdict_turn2/timeout": 2 / 2,
        "verdict_turn3/accepted": 1 / 2,
        "verdict_turn3/timeout": 1 / 2,
    }


def test_the_same_keys_every_step() -> None:
    """Also when nobody plays a second turn: a tracker's line should have no holes, and no NaN."""
    first, second = episode_metrics(EPISODES), episode_metrics(EPISODES[:2])
    assert first.keys() == second.keys()
    assert len(first) == 3 + 3 * (1 + len(Verdict))
    assert all(math.isfinite(value) for value in [*first.values(), *second.values()])
    assert [value for key, value in second.items() if key.startswith(("verdict_turn2", "verdict_turn3"))] == [0.0] * 14


def test_the_metrics_do_not_depend_on_the_order() -> None:
    assert episode_metrics(EPISODES[::-1]) == episode_metrics(EPISODES)


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


# --- what is kept


def test_metrics_file_has_a_line_a_step(tmp_path: Path) -> None:
    log = RunLog(RlefConfig(run_dir=str(tmp_path / "run" / "rlef")))
    log.write_metrics(1, {"loss": 0.5, "steps": 4, "generated_samples": ["text", 1.0], "tensor": torch.tensor(1.0)})
    log.write_metrics(2, {"loss": 0.25})
    lines = [json.loads(line) for line in (tmp_path / "run" / "rlef" / "metrics.jsonl").read_text().splitlines()]
    assert all(line.pop("unix_time_s") > 1e9 for line in lines)
    assert lines == [{"step": 1, "loss": 0.5, "steps": 4}, {"step": 2, "loss": 0.25}]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return family_tokenizer("llama-3.1")


@pytest.fixture
def episode(tokenizer: Any) -> Any:
    """Two turns of three, as tokens and as the host's mask, with the texts that went in."""
    dialog, eot = Dialog(tokenizer), tokenizer.eos_token_id
    first, second = (tokenizer.encode(text, add_special_tokens=False) + [eot] for text in ("prose", "print(1)"))
    parts = [dialog.prompt_tokens("Solve it."), first, dialog.feedback_tokens("No.", eot), second]
    tokens = [token for part in parts for token in part]
    mask = [int(index % 2) for index, part in enumerate(parts) for _ in part]
    made = sample([INVALID, OK], public=True, prompt="sum-of-two")
    made.info["turn_rewards"] = torch.tensor([[-0.2, 1.0, 0.0]])
    made.sequences, made.action_mask = torch.tensor([tokens]), torch.tensor([mask[1:]])
    made.lengths = [len(part) for part in parts]
    return made


def test_record_is_the_dialog_with_verdicts_and_rewards(episode: Any, tokenizer: Any) -> None:
    kept = record(episode, tokenizer)
    messages = kept.pop("messages")
    assert kept.pop("rewards") == pytest.approx([-0.2, 1.0])
    assert kept == {
        "problem": "sum-of-two",
        "solved": True,
        "public_passed": True,
        "verdicts": ["invalid_code", "accepted"],
    }
    assert [message["role"] for message in messages] == ["environment", "model", "environment", "model"]
    assert [message["tokens"] for message in messages] == episode.lengths
    assert [message["text"] for message in messages[1::2]] == ["prose<|eot_id|>", "print(1)<|eot_id|>"]
    assert "Solve it." in messages[0]["text"] and "No." in messages[2]["text"]
    assert "".join(message["text"] for message in messages) == tokenizer.decode(episode.sequences[0])
    assert json.loads(json.dumps(kept)) == kept


def test_record_of_an_episode_that_ends_with_feedback_left_out(episode: Any, tokenizer: Any) -> None:
    """One turn: the last token of the sequence is the model's."""
    end = sum(episode.lengths[:2])
    episode.sequences, episode.action_mask = episode.sequences[:, :end], episode.action_mask[:, : end - 1]
    episode.info["turns"] = torch.tensor([1.0])
    kept = record(episode, tokenizer)
    assert [message["role"] for message in kept["messages"]] == ["environment", "model"]
    assert kept["verdicts"] == ["invalid_code"]
    assert kept["rewards"] == pytest.approx([-0.2])


@pytest.mark.parametrize("every, kept", [(1, [1, 2, 3, 4]), (2, [2, 4]), (10, []), (0, [])])
def test_every_nth_step_is_kept(episode: Any, tokenizer: Any, tmp_path: Path, every: int, kept: list[int]) -> None:
    log = RunLog(RlefConfig(run_dir=str(tmp_path), rollouts_every=every))
    for step in (1, 2, 3, 4):
        log.write_episodes([episode, episode], step, tokenizer)
    assert sorted(path.name for path in tmp_path.rglob("*.jsonl")) == [f"step_{step:06d}.jsonl" for step in kept]
    for path in tmp_path.rglob("*.jsonl"):
        lines = path.read_text().splitlines()
        assert [json.loads(line)["problem"] for line in lines] == ["sum-of-two", "sum-of-two"]


def test_a_step_that_fails_while_it_is_written_leaves_no_half_file(
    episode: Any, tokenizer: Any, tmp_path: Path
) -> None:
    log = RunLog(RlefConfig(run_dir=str(tmp_path), rollouts_every=1))
    with pytest.raises(AttributeError):
        log.write_episodes([episode, SimpleNamespace()], 1, tokenizer)
    assert not list((tmp_path / "rollouts").glob("*.jsonl"))


def test_the_lists_are_what_the_info_holds_beside_scalars(episode: Any) -> None:
    assert {key for key, value in episode.info.items() if value.dim() > 1} == set(TURN_LISTS)
