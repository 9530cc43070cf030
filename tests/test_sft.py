"""The supervised baseline: its recipes through the host's own parser, and a run of the host's train_sft on the CPU."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rlef_plugin import recipes, sft
from rlef_plugin.errors import UsageError

REPO = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.host


MESSAGES = [
    {"role": "user", "content": "Print one."},
    {"role": "assistant", "content": "```python\nprint(1)\n```"},
]


def rows(path: Path, count: int = 4) -> Path:
    path.write_text("".join(json.dumps({"messages": MESSAGES}) + "\n" for _ in range(count)))
    return path


def values(recipe: str, *overrides: str) -> dict[str, object]:
    return recipes.load(REPO / "recipes" / recipe, overrides)


@pytest.mark.parametrize("recipe, on_cpu", [("sft-8b.yaml", False), ("sft-cpu.yaml", True)])
def test_recipes_pass_the_hosts_own_checks(tmp_path: Path, recipe: str, on_cpu: bool) -> None:
    flags, chosen = sft.plan(values(recipe, f"data.dataset={rows(tmp_path / 'sft.jsonl')}"))
    assert chosen is on_cpu
    place = flags.index("--data.input_key")
    assert flags[place + 1] == "messages" and "--data.apply_chat_template" in flags
    assert "--data.output_key" not in flags  # with one, the host would train on something else


def test_the_paper_recipe_has_the_papers_numbers(tmp_path: Path) -> None:
    chosen = values("sft-8b.yaml")
    assert chosen["adam.lr"] in (5e-6, 2e-6) and chosen["train.max_epochs"] in (2, 3)
    assert (chosen["train.batch_size"], chosen["data.max_len"], chosen["adam.weight_decay"]) == (64, 8192, 0.1)
    steps = (313_639 // 64) * chosen["train.max_epochs"]
    assert math.ceil(steps * chosen["lr_warmup_ratio"]) == 10  # as the host counts


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["cli=train_dpo"], "only train_sft can be chosen"),
        (["rlef.turn_limit=3"], "rlef.turn_limit has no effect with cli=train_sft"),
        (["data.input_kee=x"], "did you mean 'data.input_key'"),
        (["data.dataset=null"], "data.dataset is missing"),
        (["data.input_key=dialog"], "set data.input_key=messages"),
        (["data.dataset=nowhere.jsonl"], "data.dataset=nowhere.jsonl does not exist: name the JSONL file that `rlef"),
        (["data.dataset=/no/where"], "data.dataset=/no/where does not exist"),
        (
            ["data.multiturn=true", "data.apply_chat_template=false"],
            "the host refuses these flags: apply_chat_template",
        ),
    ],
)
def test_what_cannot_work_is_said_at_once(tmp_path: Path, overrides: list[str], said: str) -> None:
    file = rows(tmp_path / "sft.jsonl")
    with pytest.raises(UsageError, match=said):
        sft.plan(values("sft-cpu.yaml", f"data.dataset={file}", *overrides))


@pytest.mark.parametrize(
    "line, said",
    [
        ("user: hello", "the first line of data.dataset=.* is not JSON"),
        ("[1, 2]", "has no dialog under 'messages' in its first row"),
        ('{"messages": ["Print one.", "print(1)"]}', "has no dialog under 'messages' in its first row"),
        ('{"messages": "Print one."}', "has no dialog under 'messages' in its first row"),
    ],
)
def test_rows_that_are_no_dialogs_are_refused(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "sft.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match=said):
        sft.plan(values("sft-cpu.yaml", f"data.dataset={tmp_path / 'sft.jsonl'}"))


@pytest.mark.parametrize("dataset", ["owner/name", "name", "owner/name@main"])
def test_a_dataset_of_the_hub_is_left_to_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sft.plan(values("sft-cpu.yaml", f"data.dataset={dataset}"))


def test_dry_run_prints_what_deepspeed_would_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sft.main(values("sft-8b.yaml", f"data.dataset={rows(tmp_path / 'sft.jsonl')}"), dry_run=True)
    assert capsys.readouterr().out.startswith("deepspeed --module openrlhf.cli.train_sft --model.model_name_or_path")


@pytest.mark.e2e
def test_the_host_trains_on_mined_rows_on_the_cpu(tmp_path: Path) -> None:
    from rlef_plugin.tiny.model import new_llama, save, train_tokenizer

    file = rows(tmp_path / "sft.jsonl", 16)
    tokenizer = train_tokenizer(file.read_text().splitlines(), vocabulary=320)
    save(new_llama(tokenizer, hidden=64, layers=1, max_len=256, seed=0), tokenizer, tmp_path / "model")
    overrides = [f"model.model_name_or_path={tmp_path / 'model'}", f"ckpt.output_dir={tmp_path / 'out'}"]
    overrides += [f"data.dataset={file}", "data.max_len=256", "train.max_epochs=4", "adam.lr=0.01"]
    command = [sys.executable, "-m", "rlef_plugin", "train", str(REPO / "recipes" / "sft-cpu.yaml"), *overrides]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600, env=dict(os.environ))
    assert ended.returncode == 0, ended.stderr[-3000:]
    before, after = (response_loss(tmp_path / name, tokenizer) for name in ("model", "out"))
    assert after < 0.5 * before


def response_loss(model: Path, tokenizer: Any) -> float:
    """Mean loss on the tokens of the response."""
    from transformers import AutoModelForCausalLM

    prompt = tokenizer.apply_chat_template(MESSAGES[:1], tokenize=True, add_generation_prompt=True)["input_ids"]
    ids = torch.tensor([tokenizer.apply_chat_template(MESSAGES, tokenize=True)["input_ids"]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(model)(input_ids=ids, labels=labels).loss.item()
