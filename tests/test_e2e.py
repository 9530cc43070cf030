"""Training for real on the CPU host: OpenRLHF, Ray, vLLM, DeepSpeed and nsjail, started by the host's own command.

One run of three steps is made once; each test below looks at one thing in what it left behind. The batch tensors it
dumped are compared with tests/reference, plain float64 loops that share nothing with the plugin. A second, small run
is asynchronous. The host's other switches are in test_e2e_switches.py, killed runs in test_resume.py.
"""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cpu_training import CANARY, TIMEOUT_S, Run, Tiny, command, processes_of, small, train, wait_for
from reference import episode, whitening
from safetensors.torch import load_file

from rlef_plugin.evaluation import rollouts
from rlef_plugin.problems import ProblemStore

pytestmark = [pytest.mark.e2e, pytest.mark.host, pytest.mark.nsjail]


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Run:
    evaluation = [f"eval.dataset={tiny.store}", "eval.split=valid", "eval.steps=3", "eval.n_samples_per_prompt=2"]
    return train(tmp_path_factory.mktemp("e2e"), tiny, *evaluation)


def test_trains_for_three_steps_and_saves_a_model_that_loads(run: Run) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert [step["step"] for step in run.metrics] == [1, 2, 3]
    model = AutoModelForCausalLM.from_pretrained(run.work / "model-out")
    tokenizer = AutoTokenizer.from_pretrained(run.work / "model-out")
    assert tokenizer.chat_template and model.config.vocab_size == len(tokenizer)


@pytest.mark.parametrize("trained", ["model-out", "model-out_critic"])
def test_the_parameters_of_policy_and_critic_moved(run: Run, tiny: Tiny, trained: str) -> None:
    before, after = load_file(tiny.model / "model.safetensors"), run.weights(trained)
    moved = [name for name in before if name in after and not torch.equal(before[name], after[name])]
    assert len(moved) > len(before) // 2, f"only {moved} of {sorted(before)} changed in {trained}"
    assert all(torch.isfinite(tensor.float()).all() for tensor in after.values())


def test_turn_rewards_follow_from_the_verdicts(run: Run) -> None:
    for step in range(3):
        for row, played in zip(run.rows(step), run.episodes[step], strict=True):
            *intermediate, _ = verdicts = [turn["verdict"] for turn in played["turns"]]
            expected = [-0.2 if verdict == "invalid_code" else 0.0 for verdict in intermediate]
            expected += [1.0 if verdicts[-1] == "accepted" else -1.0]
            assert row["turn_rewards"] == pytest.approx(expected + [0.0] * (3 - len(expected)))
            assert row["labels"] == played["problem"]


def test_kl_returns_and_advantages_agree_with_the_float64_reference(run: Run) -> None:
    for step, dump in enumerate(run.dumps):
        unwhitened, lengths, found = [], [], []
        for row in run.rows(step):
            turns = episode.turns(row["action_mask"])
            kl = episode.kl(row["kl"], row["action_mask"], "geometric_mean")
            R = episode.rewards_with_kl(row["turn_rewards"][: len(turns)], kl, dump["beta"])
            V = [row["values"][turn[0]] for turn in turns]
            G = episode.returns(R, 1.0)
            unwhitened.append(episode.advantages(R, V, 1.0, 1.0))
            lengths.append([len(turn) for turn in turns])
            found.append((row, turns))
            for turn, G_t in zip(turns, G, strict=True):
                assert [row["returns"][j] for j in turn] == pytest.approx([G_t] * len(turn), abs=1e-5)
        for (row, turns), expected in zip(found, whitening.whiten(unwhitened, lengths, "turn"), strict=True):
            for turn, A_t in zip(turns, expected, strict=True):
                assert [row["advantages"][j] for j in turn] == pytest.approx([A_t] * len(turn), abs=1e-4)
            outside = [a for a, trained in zip(row["advantages"], row["action_mask"], strict=True) if not trained]
            assert not any(outside)


def test_kl_is_zero_in_the_first_step_and_not_later(run: Run) -> None:
    """At the first step the policy is the initial one."""
    assert max(abs(k) for row in run.rows(0) for k in row["kl"]) < 1e-6
    assert max(abs(k) for row in run.rows(2) for k in row["kl"]) > 1e-3


def test_the_critic_values_turn_starts_and_nothing_else(run: Run) -> None:
    for step in range(3):
        for row in run.rows(step):
            starts = {turn[0] for turn in episode.turns(row["action_mask"])}
            assert {j for j, value in enumerate(row["values"]) if value != 0.0} == starts


def test_vllm_generates_with_the_weights_that_the_trainer_has(run: Run) -> None:
    """vLLM's own log-probabilities of what it sampled agree with the policy's after every update.

    They differ by bfloat16 rounding; without the weight sync they would differ as much as the two policies do.
    """
    for step in (1, 2):
        noise, drift = run.noise_and_drift(step)
        assert noise < 0.05 and noise < 0.5 * drift, f"step {step + 1}: noise {noise:.4f}, drift {drift:.4f}"


def test_no_private_test_shows_anywhere(run: Run, tiny: Tiny) -> None:
    assert "say-back" in {played["problem"] for step in run.episodes for played in step}
    kept = [run.log, json.dumps(run.metrics), json.dumps(run.episodes)]
    assert not any(CANARY in text for text in kept)
    store = ProblemStore.open(tiny.store)
    for played in (one for step in run.episodes for one in step):
        problem = store[played["problem"]]
        seen = "".join(m["text"] for m in played["messages"] if m["role"] == "environment")
        public = problem.description + "".join(test.input + test.output for test in problem.public_tests)
        for test in problem.private_tests:
            told = test.output.strip()
            if len(told) >= 8 and told not in public:
                written = "".join(m["text"] for m in played["messages"] if m["role"] == "model")
                assert told not in seen or told in written, f"{problem.id}: a private output is in the dialog"


def test_reports_solve_rates_and_verdicts_of_every_turn(run: Run) -> None:
    for metrics, played in zip(run.metrics, run.episodes, strict=True):
        for turn in (1, 2, 3):
            solved = [one["solved"] and len(one["turns"]) <= turn for one in played]
            assert metrics[f"episode/solve_rate_turn{turn}"] == pytest.approx(sum(solved) / len(solved))
        first = [one["turns"][0]["verdict"] for one in played]
        assert metrics["verdict_turn1/accepted"] == pytest.approx(first.count("accepted") / len(first))
        assert metrics["rollout/num_samples"] == 27 and metrics["turn_kl"] == metrics["turn_kl"]


def test_evaluation_reports_solve_rates_and_keeps_the_best_checkpoint(run: Run, tiny: Tiny) -> None:
    said = re.search(r"Evaluation completed.*eval_metrics: (\{.*?\})", run.log)
    assert said, "the log tells of no evaluation"
    metrics = ast.literal_eval(re.sub(r"\bnan\b", "None", said[1]))  # a share of nothing is not a number
    problems = len(ProblemStore.open(tiny.store).ids("valid"))
    assert metrics["eval_num_samples"] == 2 * problems
    assert (metrics["eval_valid_pass1"] * 2 * problems) % 1 == pytest.approx(
        0
    )  # a share of episodes, not a mean reward
    assert 0 <= metrics["eval_valid_pass1"] <= metrics["eval_valid_pass2"] <= 1
    kept = json.loads((run.work / "checkpoints" / "_actor" / "best_global_step3" / "metric.json").read_text())
    assert kept == {"metric_key": "eval_valid_pass1", "metric_value": metrics["eval_valid_pass1"]}


def test_rlef_eval_plays_the_trained_model_once(run: Run, tiny: Tiny, tmp_path: Path) -> None:
    """vLLM in this machine's memory, two data-parallel engines over Ray, the executor and environment of training."""
    out, problems = tmp_path / "evaluated", ProblemStore.open(tiny.store).ids("valid")
    rlef = str(Path(sys.executable).parent / "rlef")
    model = ["--model", str(run.work / "model-out"), "--store", str(tiny.store), "--out", str(out)]
    sampling = ["--rollouts", "2", "--temperature", "1.0", "--max-len", "1280", "--max-new-tokens", "128"]
    evaluate = [rlef, "eval", *model, *sampling, "--engines", "2", "--cpu-host", "rlef.feedback_tokens=224"]
    kept = []
    for _ in range(2):
        done = subprocess.run(evaluate, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        kept.append({path.name: path.read_bytes() for path in (out / "rollouts").iterdir()})
    assert kept[0] == kept[1]
    played = rollouts.read(out / "rollouts")
    assert sorted((one.problem, one.index) for one in played) == sorted((p, i) for p in problems for i in range(2))
    assert all(1 <= len(one.turns) <= 3 and one.turns[-1].response_tokens <= 128 for one in played)
    scored = subprocess.run([rlef, "score", str(out)], capture_output=True, text=True, timeout=120)
    solved = sum(one.solved for one in played) / len(played)
    assert f"{100 * solved:.1f}" in next(line for line in scored.stdout.splitlines() if "1@3" in line)
    assert processes_of(tmp_path) == []


def test_nothing_is_left_running(run: Run) -> None:
    assert processes_of(run.work) == []


@pytest.mark.parametrize("how", ["ctrl-c", "terminated"])
def test_a_run_that_is_stopped_leaves_no_process_behind(tiny: Tiny, tmp_path: Path, how: str) -> None:
    """Stopped while vLLM starts: by a terminal, which interrupts the whole group, or by SIGTERM to the process."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(tmp_path, tiny),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=tmp_path,
        )
    wait_for(
        lambda: "Initializing a V1 LLM engine" in log.read_text(errors="replace") or process.poll() is not None, 600
    )
    assert process.poll() is None, log.read_text()
    assert processes_of(tmp_path), "the run's processes should be recognisable while it is running"
    os.killpg(process.pid, signal.SIGINT) if how == "ctrl-c" else process.terminate()
    process.wait(timeout=120)
    assert processes_of(tmp_path) == []


def test_the_demo_ends_with_a_summary(tiny: Tiny, tmp_path: Path) -> None:
    """`rlef demo` itself, on the store and model that are there already; what `make demo` runs."""
    for made in ("store", "model", "made-from.json"):
        (tmp_path / made).symlink_to(tiny.rows.parent / made)
    rlef = Path(sys.executable).parent / "rlef"
    demo_run = [str(rlef), "demo", "--work", str(tmp_path), "--problems", str(tiny.rows), "train.num_episodes=1"]
    done = subprocess.run(demo_run, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "are there already",
        "step 3:",
        "Training, step by step",
        "Verdicts of the responses",
        "One episode:",
    ):
        assert said in done.stdout, f"{said!r} is missing from:\n{done.stdout}"
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert processes_of(tmp_path) == []


def test_asynchronous_training(tiny: Tiny, tmp_path: Path) -> None:
    """Two steps; the second's rollouts may be a policy behind, which the capped importance weight is for.

    The generator evaluates in between, and the trainer keeps the best checkpoint.
    """
    evaluation = [f"eval.dataset={tiny.store}", "eval.split=valid", "eval.steps=1"]
    run = train(tmp_path, tiny, *small(train__async_enable=True), *evaluation)
    assert [step["step"] for step in run.metrics] == [1, 2]
    check_capped_importance_weight(run)
    evaluated = dict(re.findall(r"Eval at step (\d+): .*?'eval_valid_pass1': ([0-9.]+)", run.log))
    assert evaluated, "the log tells of no evaluation"
    best = list((run.work / "checkpoints" / "_actor").glob("best_global_step*/metric.json"))
    kept = [json.loads(path.read_text()) for path in best]
    assert [one["metric_value"] for one in kept] == [max(map(float, evaluated.values()))]
    before, after = load_file(tiny.model / "model.safetensors"), run.weights()
    assert any(not torch.equal(before[name].float(), after[name].float()) for name in before)
    assert processes_of(tmp_path) == []


def check_capped_importance_weight(run: Run) -> None:
    """The share of tokens whose weight pi_old / pi_behaviour is above 1 and so is cut to 1, as the host logs it."""
    for step, metrics in enumerate(run.metrics):
        above = [
            row["action_log_probs"][j] > row["rollout_log_probs"][j]
            for row in run.rows(step)
            for j, trained in enumerate(row["action_mask"])
            if trained
        ]
        assert 0 < metrics["is_filter_ratio"] < 1
        # The host averages over micro-batches of unlike lengths, this over tokens; the shares below 1 are far away.
        assert metrics["is_filter_ratio"] == pytest.approx(sum(above) / len(above), abs=0.1)
