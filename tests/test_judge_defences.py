"""Every defence that `@defence` names in the tests of attacks: it is there, it is documented, and (slow) without it
its test fails. The judge with a defence less is a copy in a folder of its own; this tree is never touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import test_judge_attacks  # noqa: F401  (fills DEFENCES)
import test_judge_greed  # noqa: F401
import test_judge_policy  # noqa: F401
import test_judge_takeover  # noqa: F401
from judge_helpers import DEFENCES, ROOT, changed_tree


def test_defences_are_there_and_documented() -> None:
    documented = (ROOT / "docs" / "judge.md").read_text()
    for test, edits in DEFENCES.items():
        assert f"`{test.partition('::')[2]}`" in documented
        for path, text, _ in edits:
            assert (ROOT / path).read_text().count(text) == 1, (test, path, text)


@pytest.mark.slow
@pytest.mark.nsjail
@pytest.mark.parametrize("name", DEFENCES)
def test_attack_succeeds_without_its_defence(name: str, tmp_path: Path) -> None:
    changed_tree(tmp_path, DEFENCES[name])
    module, _, test = name.partition("::")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{module}.py::{test}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1 and "1 failed" in run.stdout, run.stdout[-2000:] + run.stderr[-2000:]
