"""From our executor's result to the learner's batch, through the host's own classes (in_host.py)."""

from types import SimpleNamespace
from typing import Any

import pytest
from host_files import ACTOR, BUFFER, SAMPLES, TRAINER
from in_host import advantages_of, host, in_host, learner_batch, played, recorded_samples, same

pytestmark = pytest.mark.host


@in_host
def test_the_host_makes_an_experience_of_our_result() -> None:
    from scripted import NO_CODE, SOLVED, log_prob

    result, experience = played(NO_CODE, SOLVED)
    tokens, ranges = result["observation_tokens"], result["action_ranges"]
    inside = {position for start, end in ranges for position in range(start, end)}
    where = f"openrlhf/{SAMPLES}"
    same(f"{where} sequences", experience.sequences.tolist(), [tokens])
    # Mask index j speaks of token j + 1.
    same(f"{where} action_mask", experience.action_mask.tolist(), [[int(j in inside) for j in range(1, len(tokens))]])
    expected = [[log_prob(j) if j in inside else 0.0 for j in range(1, len(tokens))]]
    same(f"{where} rollout_log_probs", experience.rollout_log_probs.tolist(), expected)
    same(f"{where} shapes", {key: tuple(value.shape) for key, value in experience.info.items()}, INFO_SHAPES)
    assert {str(value.dtype) for key, value in experience.info.items() if key != "response_clip_ratio"} == {
        "torch.float32"
    }, f"{where}: { ({key: value.dtype for key, value in experience.info.items()}) }"
    same(f"{where} rewards", [round(x, 5) for x in experience.rewards.tolist()], [0.8])
    same(f"{where} scores", experience.scores.tolist(), [1.0])
    same(f"{where} labels", experience.labels, ["bb"])
    same(f"{where} truncated", experience.truncated.tolist(), [False])


INFO_SHAPES = {
    **dict.fromkeys(("response_clip_ratio", "reward", "score", "solved", "public_passed", "turns"), (1,)),
    **dict.fromkeys(("responses_truncated", "judge_s", "generate_s", "judge/checker_errors", "judge/killed"), (1,)),
    **dict.fromkeys(("turn_rewards", "turn_verdicts"), (1, 3)),
}


@in_host
def test_without_importance_weights_the_host_takes_no_log_probs() -> None:
    from scripted import SOLVED

    same(f"openrlhf/{SAMPLES}", played(SOLVED, logprobs=None)[1].rollout_log_probs, None)


@in_host
def test_experiences_of_different_lengths_are_concatenated() -> None:
    from scripted import NO_CODE, SOLVED, WRONG

    h = host()
    where = "openrlhf/trainer/ppo_utils/experience.py concat_experiences"
    (_, short), (_, long) = played(SOLVED), played(NO_CODE, WRONG, SOLVED)
    batch = h.experience.Experience.concat_experiences([short, long], pad_token_id=7)
    same(f"{where} turns", batch.info["turns"].tolist(), [1.0, 3.0])
    rewards = [[round(x, 5) for x in row] for row in batch.info["turn_rewards"].tolist()]
    same(f"{where} turn_rewards", rewards, [[1.0, 0.0, 0.0], [-0.2, 0.0, 1.0]])
    same(f"{where} turn_verdicts", batch.info["turn_verdicts"].tolist(), [[0, -1, -1], [6, 1, 0]])
    length, width = short.sequences.shape[1], long.sequences.shape[1]
    same(f"{where} sequences", batch.sequences[0].tolist(), short.sequences[0].tolist() + [7] * (width - length))
    same(f"{where} mask", batch.action_mask[0].tolist(), short.action_mask[0].tolist() + [0] * (width - length))
    same(f"{where} labels", batch.labels, ["bb", "bb"])


@in_host
def test_a_kl_that_is_in_no_reward_is_measured_all_the_same_or_nan() -> None:
    """The host hands over zeros where the KL is in the loss, and where there is no initial policy."""
    import torch

    def zeros(batch: Any) -> Any:
        batch.base_action_log_probs, batch.kl = batch.action_log_probs - batch.kl, torch.zeros_like(batch.kl)
        return batch

    in_reward, in_loss = advantages_of(learner_batch()), advantages_of(zeros(learner_batch()), kl_in_loss=True)
    nowhere = advantages_of(zeros(learner_batch()), reference=False)
    for key in ("learner_turn1/kl_sum", "learner_turn1/kl_geometric_mean", "learner_turn3/kl_sum"):
        close = abs(in_reward.metrics[key] - in_loss.metrics[key]) < 1e-5
        assert close and in_reward.metrics[key] != 0, (key, in_reward.metrics[key], in_loss.metrics[key])
        assert nowhere.metrics[key] != nowhere.metrics[key], f"{key} is {nowhere.metrics[key]}, which nobody measured"
    assert torch.allclose(in_loss.info["turn_kl"], in_reward.info["turn_kl"], atol=1e-5)
    assert nowhere.info["turn_kl"].isnan().all() and not nowhere.info["return"].isnan().any()
    assert torch.equal(in_loss.info["return"], in_loss.info["return"].round(decimals=4)), "a KL is in the reward"


@in_host
def test_a_batch_with_our_advantages_goes_through_the_replay_buffer() -> None:
    """Split, unpadded and batched again by the host: every tensor comes back as it was, a number a turn does not."""
    import torch

    h = host()
    where = f"openrlhf/{BUFFER}"
    made = advantages_of(learner_batch())
    assert not {"turn_rewards", "turn_verdicts"} & set(made.info), f"left in info: {sorted(made.info)}"
    kept = {key: getattr(made, key).clone() for key in ("sequences", "action_mask", "advantages", "returns", "values")}
    info = {key: value.clone() for key, value in made.info.items()}
    buffer = h.replay_buffer.NaiveReplayBuffer(sample_batch_size=2)
    buffer.append(made)
    same(f"{where} items", len(buffer), 2)
    assert buffer[0].action_mask.shape != buffer[1].action_mask.shape, f"{where} keeps the padding"
    again = buffer.collate_fn([buffer[0], buffer[1]])
    for key, value in kept.items():
        value = torch.where(value == 7, 0, value) if key == "sequences" else value  # padded with 0 the second time
        assert torch.equal(torch.where(getattr(again, key) == 7, 0, getattr(again, key)), value), f"{where}: {key}"
    for key, value in info.items():
        assert torch.equal(torch.stack(list(again.info[key])), value), f"{where}: info[{key}]"
        torch.tensor(again.info[key], dtype=torch.float)  # what ppo_actor.py does to log it


@in_host
def test_a_list_a_turn_left_in_info_would_break_the_actors_logging() -> None:
    """The reason why TURN_LISTS are taken out, so that this can go when the host can log them."""
    import torch

    h = host()
    items = h.experience.split_experience_batch(learner_batch())
    listed = h.experience.make_experience_batch(items).info["turn_rewards"]
    try:
        torch.tensor(listed, dtype=torch.float)
    except ValueError:
        return
    raise AssertionError(f"openrlhf/{ACTOR} could log turn_rewards now: {type(listed)}")


@in_host
def test_an_episode_whose_mask_shows_other_turns_than_were_played_is_refused() -> None:
    batch = learner_batch()
    batch.info["turns"][0] += 1
    try:
        advantages_of(batch)
    except RuntimeError as error:
        assert "[1, 3] turns, but [2, 3] were played" in str(error), str(error)
    else:
        raise AssertionError("rewards would have slipped to other turns")


@in_host
def test_evaluation_logs_have_the_hosts_keys() -> None:
    from scripted import PUBLIC_ONLY, SOLVED

    from rlef_plugin.openrlhf_ext.rollouts import solve_rates

    samples = [played(kind, label="ccc")[1] for kind in (SOLVED, PUBLIC_ONLY)]
    loader = [(["valid"], ["ccc"], ["ccc"], [None])]
    theirs = host().stock.compute_eval_metrics(loader, samples, 2)
    ours = solve_rates(loader, samples, 2)
    same(f"openrlhf/{TRAINER}", {"eval_valid_pass1", "eval_valid_pass2"} <= theirs.keys() & ours.keys(), True)
    same("ours", (ours["eval_valid_pass1"], ours["eval_valid_pass2"]), (0.5, 1.0))
    same(f"openrlhf/{TRAINER} pass1 of rewards 1 and -1", theirs["eval_valid_pass1"], 0.0)  # why it is replaced
    keep = SimpleNamespace(best_eval_metric_key="eval_valid_pass1")
    detect = host().ppo_trainer.BasePPOTrainer._detect_eval_metric_key
    same(f"openrlhf/{TRAINER} best key", detect(keep, ours), "eval_valid_pass1")


@in_host
def test_samples_carry_their_records_and_the_first_one_its_rollout_phase() -> None:
    """Through the host's own generator, its queue's pickle and its batching; filtered episodes count as played."""
    import pickle
    import time

    from scripted import NO_CODE, SOLVED, WRONG

    results = [played(SOLVED)[0], played(NO_CODE, WRONG, SOLVED)[0], played(WRONG, WRONG, WRONG)[0]]
    generator = recorded_samples()
    generator.args = SimpleNamespace(
        rollout=SimpleNamespace(batch_size=1, n_samples_per_prompt=2, vllm_generate_batch_size=None),
        vllm=SimpleNamespace(enable_sleep=False),
        algo=SimpleNamespace(dynamic_filtering_enable=False),
    )
    generator._dataloader_iter, generator._sample_buffer = iter(()), []
    started = time.time()

    def generate(**_: Any) -> tuple[list[Any], int, bool]:
        made = [generator._process_response_into_experience(result, max_len=600) for result in results]
        return made[:2], 1, False  # the third was filtered out

    generator._generate_vllm = generate
    samples, *_ = generator.generate_samples(max_len=600)
    samples = pickle.loads(pickle.dumps(samples))
    same(f"openrlhf/{SAMPLES}", [len(sample.record["turns"]) for sample in samples], [1, 3])
    same("chrF", [turn["chrf"] for turn in samples[1].record["turns"]][:2], [None, None])
    assert samples[1].record["turns"][2]["chrf"] > 0, samples[1].record
    rollout = samples[0].rollout
    same("played", (len(rollout.generating), len(rollout.judging)), (7, 6))
    assert started <= rollout.window[0] <= rollout.window[1] <= time.time(), rollout.window
    assert not hasattr(samples[1], "rollout"), "a phase belongs to one sample"
    batch = host().experience.Experience.concat_experiences(samples, pad_token_id=0)
    assert not hasattr(batch, "record"), f"openrlhf/{SAMPLES}: records would travel on into the replay buffer"
