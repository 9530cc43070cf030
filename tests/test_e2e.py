"""Training for real on the CPU host: OpenRLHF, Ray, vLLM, DeepSpeed and nsjail, started by the host's own command.

One run of three steps is made once; each test below looks at one thing in what it left behind. The batch tensors it
dumped are compared with tests/reference, plain float64 loops that share nothing with the plugin.
"""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import episode, whitening
from rich.console import Console
from safetensors.torch import load_file

from rlef_plugin import recipes
from rlef_plugin.problems import EXAMPLES, ProblemStore, read_rows
from rlef_plugin.tiny import demo

pytestmark = [pytest.mark.e2e, pytest.mark.host, pytest.mark.nsjail]

REPO = Path(__file__).resolve().parents[1]
CANARY = "expected-of-a-private-test-4b1f9c"  # in no statement and no public test
TIMEOUT_S = 1500  # a machine that is busy with something else should still pass


def canary_row() -> dict[str, Any]:
    """A problem whose private tests can be recognised wherever they turn up."""
    words = [f"{CANARY}-{n}\n" for n in range(3)]
    return {
        "name": "say-back",
        "split": "train",
        "description": "Print the one word of the input.",
        "public_tests": {"input": ["a\n"], "output": ["a\n"]},
        "private_tests": {"input": words, "output": words},
        "generated_tests": {"input": [], "output": []},
        "solutions": {"language": [3], "solution": ["print(input())"]},
        "incorrect_solutions": {"language": [3, 3], "solution": ["print('a')", "print('b')"]},
    }


class Run:
    """What the run left behind."""

    def __init__(self, work: Path, log: Path) -> None:
        self.work, self.log = work, log.read_text(errors="replace")
        out = work / "run"
        self.metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        self.dumps = [torch.load(path) for path in sorted((out / "batches").glob("*.pt"))]
        self.episodes = [
            [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted((out / "rollouts").glob("*.jsonl"))
        ]

    def rows(self, step: int) -> Iterator[dict[str, Any]]:
        """The episodes of a dumped step as plain lists in float64, one dict each."""
        for batch in self.dumps[step]["batch"]:
            for row in range(len(batch["labels"])):
                yield {
                    key: value[row].tolist() if torch.is_tensor(value) else value[row] for key, value in batch.items()
                }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    work = tmp_path_factory.mktemp("e2e")
    rows = work / "rows.jsonl"
    examples = [dict(row) for row in read_rows(EXAMPLES)]
    spare = next(row for row in examples if row["split"] == "train")  # 27 stay: three steps of 9, none left out
    examples[examples.index(spare)] = canary_row()
    rows.write_text("".join(json.dumps(row) + "\n" for row in examples))
    store, model = demo.prepare(work, rows, Console(quiet=True))
    log = work / "train.log"
    with log.open("wb") as output:
        subprocess.run(
            command(work, store, model), stdout=output, stderr=subprocess.STDOUT, cwd=work, timeout=TIMEOUT_S
        )
    assert (work / "run" / "metrics.jsonl").is_file(), (
        f"training made no step:\n{log.read_text(errors='replace')[-4000:]}"
    )
    return Run(work, log)


def command(work: Path, store: Path, model: Path, *more: str) -> list[str]:
    """The host's own command, verbatim, with the flags of recipes/cpu-demo.yaml."""
    overrides = [f"actor.model_name_or_path={model}", f"data.prompt_dataset={store}", "train.num_episodes=1"]
    overrides += [
        f"ckpt.output_dir={work / 'model-out'}",
        f"rlef.run_dir={work / 'run'}",
        f"ckpt.path={work / 'checkpoints'}",
        "critic.save_value_network=true",
        f"eval.dataset={store}",
        "eval.split=valid",
        "eval.steps=3",
        "eval.n_samples_per_prompt=2",
    ]
    flags = recipes.to_flags(recipes.load(REPO / "recipes" / "cpu-demo.yaml", [*overrides, *more]))
    assert flags[:2] == ["--env", "rlef_plugin.CodeContestsEnv"]
    return [sys.executable, "-m", "openrlhf.cli.train_ppo_ray", *flags]


def test_trains_for_three_steps_and_saves_a_model_that_loads(run: Run) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert [step["step"] for step in run.metrics] == [1, 2, 3]
    model = AutoModelForCausalLM.from_pretrained(run.work / "model-out")
    tokenizer = AutoTokenizer.from_pretrained(run.work / "model-out")
    assert tokenizer.chat_template and model.config.vocab_size == len(tokenizer)


@pytest.mark.parametrize("trained", ["model-out", "model-out_critic"])
def test_the_parameters_of_policy_and_critic_moved(run: Run, trained: str) -> None:
    before = load_file(run.work / "model" / "model.safetensors")
    after = load_file(run.work / trained / "model.safetensors")
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
        noise, drift = [], []
        for row in run.rows(step):
            for j, trained in enumerate(row["action_mask"]):
                if trained:
                    noise.append(abs(row["rollout_log_probs"][j] - row["action_log_probs"][j]))
                    drift.append(abs(row["kl"][j]))  # policy now against the initial policy
        assert sum(noise) / len(noise) < 0.05
        assert sum(noise) < 0.5 * sum(drift), f"step {step + 1}: noise {sum(noise):.3f}, drift {sum(drift):.3f}"


def test_no_private_test_shows_anywhere(run: Run) -> None:
    assert "say-back" in {played["problem"] for step in run.episodes for played in step}
    kept = [run.log, json.dumps(run.metrics), json.dumps(run.episodes)]
    assert not any(CANARY in text for text in kept)
    store = ProblemStore.open(run.work / "store")
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


def test_evaluation_reports_solve_rates_and_keeps_the_best_checkpoint(run: Run) -> None:
    said = re.search(r"Evaluation completed.*eval_metrics: (\{.*?\})", run.log)
    assert said, "the log tells of no evaluation"
    metrics = ast.literal_eval(said[1])
    problems = len(ProblemStore.open(run.work / "store").ids("valid"))
    assert metrics["eval_num_samples"] == 2 * problems
    assert (metrics["eval_valid_pass1"] * 2 * problems) % 1 == pytest.approx(
        0
    )  # a share of episodes, not a mean reward
    assert 0 <= metrics["eval_valid_pass1"] <= metrics["eval_valid_pass2"] <= 1
    kept = json.loads((run.work / "checkpoints" / "_actor" / "best_global_step3" / "metric.json").read_text())
    assert kept == {"metric_key": "eval_valid_pass1", "metric_value": metrics["eval_valid_pass1"]}


def test_nothing_is_left_running(run: Run) -> None:
    assert processes_of(run.work) == []


@pytest.mark.parametrize("how", ["ctrl-c", "terminated"])
def test_a_run_that_is_stopped_leaves_no_process_behind(run: Run, tmp_path: Path, how: str) -> None:
    """Stopped while vLLM starts: by a terminal, which interrupts the whole group, or by SIGTERM to the process."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(tmp_path, run.work / "store", run.work / "model"),
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


def wait_for(condition: Any, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)


def processes_of(work: Path) -> list[str]:
    """Command lines of living processes that carry this run's settings in their environment, and of orphaned jails."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command_line = re.sub("\0", " ", (folder / "cmdline").read_text())
            orphan = "\nPPid:\t1\n" in (folder / "status").read_text()
            ours = str(work).encode() in (folder / "environ").read_bytes() or (orphan and "nsjail" in command_line)
            if ours and int(folder.name) != os.getpid():
                found.append(command_line[:200])
        except OSError:  # it ended while we looked
            continue
    return found


def test_the_demo_ends_with_a_summary(run: Run, tmp_path: Path) -> None:
    """`rlef demo` itself, on the store and model that are there already; what `make demo` runs."""
    for made in ("store", "model", "made-from.json"):
        (tmp_path / made).symlink_to(run.work / made)
    rows = run.work / "rows.jsonl"
    rlef = Path(sys.executable).parent / "rlef"
    demo_run = [str(rlef), "demo", "--work", str(tmp_path), "--problems", str(rows), "train.num_episodes=1"]
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
