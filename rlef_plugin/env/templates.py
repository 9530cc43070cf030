"""The wording of an episode: text files with $placeholders, any of which a user can replace.

The files are those of `prompts/`; `EnvConfig.prompts` names a folder whose files of the same names come first.
`$format` stands for the text of `format.txt` in every other file. A replacement may leave placeholders of ours out,
but for the problem in the first message, and may use no others.
Not promised: that it is short; `FeedbackWriter` checks that.
"""

from __future__ import annotations

import difflib
import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlef_plugin.errors import UsageError

_BUILT_IN = Path(__file__).parent / "prompts"
_NEEDED = {  # the problem itself, in the first message of each kind of task
    "first_message": "description",
    "complete_function": "starter",
    "write_function": "description",
    "solve_with_starter": "description",
}


@dataclass(frozen=True, slots=True)
class Prompts:
    """Templates by the name of their file, without `.txt`."""

    texts: dict[str, str]

    def fill(self, name: str, **values: str) -> str:
        """The text with its placeholders replaced, once: a `$` inside a value stays as it is."""
        how_to_answer = string.Template(self.texts["format"]).substitute()
        return string.Template(self.texts[name]).substitute(values, format=how_to_answer)


@cache
def load_prompts(folder: str = "") -> Prompts:
    """Our prompts, each replaced by the file of its name in `folder` ("" = none); read once a process."""
    texts = _read(_BUILT_IN)
    if folder:
        for name, text in _read(Path(folder)).items():
            _check(f"{folder}/{name}.txt", name, text, texts)
            texts[name] = text
    return Prompts(texts)


def _read(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise UsageError(f"rlef.prompts is {str(folder)!r}, which is no folder: name one that holds prompt files.")
    return {file.stem: file.read_text(encoding="utf-8").removesuffix("\n") for file in sorted(folder.glob("*.txt"))}


def _check(path: str, name: str, text: str, ours: dict[str, str]) -> None:
    if name not in ours:
        near = difflib.get_close_matches(name, ours, n=1, cutoff=0.0)[0]
        raise UsageError(f"{path} is no prompt of ours: rename it to {near}.txt or remove it.")
    template = string.Template(text)
    if not template.is_valid():
        raise UsageError(f"{path} has a $ that begins no placeholder: write $$ for the character itself.")
    allowed = {*string.Template(ours[name]).get_identifiers(), "format"} - ({"format"} if name == "format" else set())
    used = set(template.get_identifiers())
    if unknown := used - allowed:
        raise UsageError(f"{path} has the unknown placeholder ${min(unknown)}: it may use {_names(allowed)}.")
    if name in _NEEDED and _NEEDED[name] not in used:
        raise UsageError(f"{path} lacks the placeholder ${_NEEDED[name]}, the problem itself: add it to the text.")


def _names(placeholders: set[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(placeholders)) or "none"
