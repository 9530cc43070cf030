"""The user's own kind of task that docs/environments.md shows: the very files, in an episode."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rlef_plugin.env import EnvConfig, load_environment
from rlef_plugin.judge import JudgeConfig, Verdict, open_judge
from rlef_plugin.problems import ProblemStore, build_store

REPO = Path(__file__).resolve().parents[1]
TEXT = (REPO / "docs" / "environments.md").read_text()


def shown(name: str) -> str:
    """The block that stands behind a file's name."""
    found = re.search(rf"^`{re.escape(name)}`[^\n]*\n\n```\w+\n(.*?)^```$", TEXT, flags=re.M | re.S)
    assert found, name
    return found[1]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "prompts").mkdir()
    for name in ("sql_env.py", "sql.jsonl", "prompts/format.txt"):
        (tmp_path / name).write_text(shown(name))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sql_env", raising=False)
    return tmp_path


def test_it_is_short() -> None:
    assert len(shown("sql_env.py").strip().split("\n")) < 30


@pytest.mark.nsjail
def test_an_episode_of_it(files: Path) -> None:
    build_store([json.loads(shown("sql.jsonl"))], files / "store")
    config = EnvConfig(prompts=str(files / "prompts"))

    async def episode():
        judge = await open_judge(JudgeConfig(workers=1))
        try:
            env = load_environment("sql_env.SqlEnv")(ProblemStore.open(files / "store"), judge, config, len)
            first = await env.reset("oldest")
            queries = ("select name from people", "select nam from people", "select name from people order by -age")
            no_block = env.program("select 1").reason
            return first, no_block, [await env.step(f"So:\n```sql\n{query}\n```\n") for query in queries]
        finally:
            await judge.close()

    first, no_block, (wrong, error, right) = asyncio.run(episode())
    assert first.endswith("\n\nAnswer with one query\nin a block that opens with ```sql and closes with ```.")
    assert no_block == "Your reply contains no block marked sql."
    assert wrong.verdict == Verdict.WRONG_OUTPUT and "but your program printed\n```\nBo\nAl\n```" in wrong.observation
    assert "it ended with\n```\nOperationalError: no such column: nam\n```" in error.observation
    assert right.solved and right.code == "select name from people order by -age\n"


@pytest.mark.host
def test_its_commands_work(files: Path) -> None:
    """As printed; of the training run, all that needs no model."""
    [block] = re.findall(r"^```text\nexport PYTHONPATH=\$PWD\n(.*?)^```$", TEXT, flags=re.M | re.S)
    (files / "recipes").symlink_to(REPO / "recipes")
    path = os.pathsep.join((str(files), *filter(None, [os.environ.get("PYTHONPATH")]), str(REPO)))
    for line in block.replace("\\\n", " ").splitlines():
        [program, *words] = shlex.split(line)
        assert program == "rlef"
        command = [sys.executable, "-m", "rlef_plugin", *words, *(["--dry-run"] if words[0] == "train" else [])]
        done = subprocess.run(
            command, cwd=files, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
