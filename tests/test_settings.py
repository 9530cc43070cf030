"""docs/settings.md and `--help`: every rlef.* key is there, with its default and a sentence."""

import re
from pathlib import Path

import pytest

from rlef_plugin import config, launcher

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "settings.md").read_text()
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in PAGE.splitlines()
    if line.startswith("| `rlef.") and (cells := [cell.strip() for cell in line.strip("|").split("|")])
}
FIELDS = {name: field for name, field, *_ in config.fields()}


def test_every_key_is_in_the_table_once() -> None:
    assert set(ROWS) == set(FIELDS)
    assert PAGE.count("\n| `rlef.") == len(ROWS)


@pytest.mark.parametrize("key", FIELDS)
def test_the_default_is_the_codes(key: str) -> None:
    default = FIELDS[key].default
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    assert ROWS[key][0] == ("none" if default in ("", None) else f"`{shown}`")


def test_links_lead_somewhere() -> None:
    for file, _, place in re.findall(r"\]\((\w+\.md)(#([\w-]+))?\)", PAGE):
        headings = [line.lstrip("# ").lower() for line in (DOCS / file).read_text().splitlines() if line[:1] == "#"]
        assert not place or place in [heading.replace(" ", "-") for heading in headings], (file, place)


def test_help_says_what_each_key_sets() -> None:
    """The comment beside the field; one without would leave a user with the default alone."""
    said = {action.dest: action.help or "" for action in launcher.full_parser()._actions}
    for key, field in FIELDS.items():
        default = "none" if field.default in ("", None) else field.default
        assert re.fullmatch(rf".{{10,}}; default: {re.escape(str(default))}", said[key]), key
    assert said["rlef.judge.workers"].startswith("programs run at the same time; 0 = one a core")
