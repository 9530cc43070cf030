"""The table of switches in docs/method.md: its keys, values and defaults are the code's, and its tests exist."""

import ast
import re
import typing
from pathlib import Path

import pytest

from rlef_plugin import config as settings
from rlef_plugin.openrlhf_ext import host_cli

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "method.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.partition("## Switches")[2].partition("What stands between")[0].splitlines()
    if line.startswith("| `")
]
OURS = {name: (field.default, kind) for name, field, kind, _ in settings.fields()}
ELSEWHERE = {  # settings of a run, not of the method; each has its own tests
    "rlef.rollouts_every",
    "rlef.dump_batches_every",
    "rlef.run_dir",
    "rlef.cpu_host",
    "rlef.feedback_tokens",
    "rlef.time_limit_s",
    "rlef.memory_limit_mb",
    "rlef.prompts",
}


def literal(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def test_every_setting_of_the_method_is_in_the_table():
    documented = {literal(row[0])[0] for row in ROWS}
    method = {name for name in OURS if not name.startswith("rlef.judge.")} - ELSEWHERE
    assert {key for key in documented if key.startswith("rlef.")} == method
    assert ELSEWHERE <= set(OURS)


@pytest.mark.parametrize("row", [row for row in ROWS if row[0].startswith("`rlef.")], ids=lambda row: row[0])
def test_values_and_defaults_are_the_codes(row: list[str]):
    default, kind = OURS[literal(row[0])[0]]
    assert row[2] == (
        f"`{str(default).lower() if isinstance(default, bool) else default}`" if default != "" else "none"
    )
    if typing.get_origin(kind) is typing.Literal:
        assert literal(row[1]) == list(typing.get_args(kind))
    elif kind is bool:
        assert literal(row[1]) == ["true", "false"]


@pytest.mark.host
def test_the_hosts_flags_and_defaults_are_the_hosts():
    actions = {action.dest: action for action in host_cli.build_parser()._actions}
    rows = [row for row in ROWS if row[0].startswith("`algo.")]
    assert len(rows) == 4
    for row in rows:
        assert literal(row[2]) == [str(actions[literal(row[0])[0]].default)]
    without_critic = set(actions["algo.advantage.estimator"].choices) - {"turn", "gae"}
    assert without_critic < set(literal(next(row for row in rows if "estimator" in row[0])[4]))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_tests_of_the_table_exist(row: list[str]):
    [name] = literal(row[5])
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
