"""Every command that the README and the docs print is run, here or by the test or script that is named for it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_run import write_run
from test_report import folder as write_evaluation

REPO = Path(__file__).resolve().parents[1]
TEXTS = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
RUN_ELSEWHERE = {
    "make demo": "tests/test_e2e.py runs `rlef demo`, all that the target does after set-up",
    "make test": ".ci/run",
    "make setup": ".ci/run",
    "pip install rlef-plugin": "tests/test_packaging.py installs the wheel",
    "python -m openrlhf.cli.train_ppo_ray --env rlef_plugin.CodeContestsEnv --data.prompt_dataset STORE <host flags>": (  # noqa: E501
        "tests/test_e2e.py trains with it"
    ),
}


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
