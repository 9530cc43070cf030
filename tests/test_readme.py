"""Every command that the README and the docs print in a ```bash block, or alone in a ```text block, is run.

Here, or by the test or script that is named for it. The commands of longer ```text blocks need a model, a download or
another machine, so that of them only the words are read: commands and options that exist. Those of the kind of task
that docs/environments.md makes up are run by tests/test_own_environment.py.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from recorded_run import write_run
from rich.console import Console
from test_report import folder as write_evaluation

from rlef_plugin import cli
from rlef_plugin.errors import UsageError
from rlef_plugin.tiny import demo

REPO = Path(__file__).resolve().parents[1]
TEXTS = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
RUN_ELSEWHERE = {
    "make demo": "tests/test_e2e.py runs `rlef demo`, all that the target does after set-up",
    "make test": ".ci/run",
    "make setup": ".ci/run",
    "rlef demo --problems problems.jsonl": "its preparation below, its training by tests/test_e2e.py",
    "pip install rlef-plugin": "tests/test_packaging.py installs the wheel",
    "python -m openrlhf.cli.train_ppo_ray --env rlef_plugin.CodeContestsEnv --data.prompt_dataset STORE <host flags>": (  # noqa: E501
        "tests/test_e2e.py trains with it"
    ),
}


def shown_only(text: str) -> list[str]:
    """The `rlef` commands of ```text blocks with more than one line."""
    blocks = re.findall(r"^```text\n(.*?)^```", text, flags=re.M | re.S)
    lines = [line.strip() for block in blocks if "\n" in block.strip() for line in block.split("\n")]
    return [line.removesuffix("\\") for line in lines if line.startswith("rlef ")]


def commands(text: str) -> list[str]:
    """Command lines of its ```bash blocks, and its ```text blocks that are a command line."""
    blocks = re.findall(r"^```(bash|text)\n(.*?)^```", text, flags=re.M | re.S)
    lines = [
        line
        for language, block in blocks
        for line in block.splitlines()
        if language == "bash" or "\n" not in block.strip()
    ]
    return [line for line in lines if re.match(r"(rlef|make|pip|python) ", line)]


ALL = sorted({line for path in TEXTS for line in commands(path.read_text())})
RUN_HERE = [line for line in ALL if line not in RUN_ELSEWHERE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's view: the README's own problem as a file, recipes and examples where they are, the demo's run."""
    work = tmp_path_factory.mktemp("readme")
    rows = re.search(r"^```json\n(.*?)^```", (REPO / "README.md").read_text(), flags=re.M | re.S)
    assert rows
    (work / "problems.jsonl").write_text(rows[1])
    for text in TEXTS:  # ```json NAME is a file that the commands below it read
        for name, content in re.findall(r"^```json (\S+)\n(.*?)^```", text.read_text(), flags=re.M | re.S):
            (work / name).write_text(content)
    for name in ("recipes", "rlef_plugin"):
        (work / name).symlink_to(REPO / name)
    write_run(work / ".rlef" / "demo" / "run")
    for name, problems, split in (("base", 3, "valid"), ("trained", 4, "valid"), ("mined", 4, "train")):
        write_evaluation(work / "evals" / name, problems, split)
    return work


def test_the_readme_has_commands_and_none_is_named_that_is_gone() -> None:
    assert len(RUN_HERE) >= 5
    assert set(RUN_ELSEWHERE) >= {line for line in ALL if line.startswith(("make", "pip"))}


@pytest.mark.parametrize("line", [line for path in TEXTS for line in shown_only(path.read_text())])
def test_commands_that_are_only_shown_have_words_that_exist(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").touch()  # an option that names a file to read
    command, words = typer.main.get_command(cli.app), shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)


def test_the_demo_of_ones_own_problems_has_programs_to_warm_up_on(folder: Path, tmp_path: Path) -> None:
    """`rlef demo --problems problems.jsonl`, up to the training."""
    store, model = demo.prepare(tmp_path, folder / "problems.jsonl", Console(quiet=True), steps=2)
    assert (model / "config.json").is_file()
    assert demo.small_updates(store) == ["train.batch_size=3", "train.micro_batch_size=3"]


def test_the_demo_replaces_only_what_it_made(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").touch()
    with pytest.raises(UsageError, match="/model was not made by `rlef demo`, which would replace it"):
        demo.prepare(tmp_path, folder / "problems.jsonl", Console(quiet=True), steps=2)
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "made-from.json").write_text("{}")  # as if it had been stopped while it made them
    with pytest.raises(UsageError, match="empty.jsonl"):
        demo.prepare(tmp_path, tmp_path / "empty.jsonl", Console(quiet=True), steps=2)
    assert (tmp_path / "model" / "precious").exists()  # problems are read first


def test_a_demo_of_problems_without_programs_says_what_is_missing(tmp_path: Path) -> None:
    test = {"input": ["1\n"], "output": ["2\n"]}
    row = {"name": "double", "description": "Print twice the number.", "public_tests": test, "private_tests": test}
    (tmp_path / "problems.jsonl").write_text(json.dumps(row))
    with pytest.raises(
        UsageError, match="both a right and a wrong program .* give your rows `solutions` and `incorre"
    ):
        demo.prepare(tmp_path / "work", tmp_path / "problems.jsonl", Console(quiet=True), steps=2)


def test_every_command_works(folder: Path) -> None:
    """In the order of the texts, since later ones use what earlier ones made."""
    for path in TEXTS:
        for line in commands(path.read_text()):
            if line in RUN_HERE:
                run(line, folder)


def run(line: str, folder: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        shlex.split(line),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=600,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
