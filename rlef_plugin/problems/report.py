"""What became of the rows of a source: read = kept + dropped + malformed, and nothing else, of each split as well."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was not kept."""

    file: str
    row: int  # from 1
    split: str
    field: str
    reason: str
    kind: Literal["malformed", "dropped"]

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.field} {self.reason}"


NAMED = 8  # problems and keys of a line


@dataclass(slots=True)
class BuildReport:
    """The account of a build."""

    path: Path
    read: int = 0
    kept: int = 0
    resumed: int = 0  # of the rows read, those that an earlier build that was killed had read
    rejections: list[Rejection] = field(default_factory=list)
    read_of: Counter[str] = field(default_factory=Counter)  # rows by split
    splits: Counter[str] = field(default_factory=Counter)  # problems by split
    renamed: list[tuple[str, str]] = field(default_factory=list)  # (name, id) where the plain id was taken
    duplicates: list[tuple[str, str]] = field(default_factory=list)  # (id, id of an earlier row with the same content)
    across_splits: list[str] = field(default_factory=list)  # that are stated as one of another split is, in words
    other_languages: int = 0  # solutions left out because they are not Python 3
    unread: Counter[str] = field(default_factory=Counter)  # rows by a key of theirs that means nothing here

    @property
    def malformed(self) -> int:
        return sum(one.kind == "malformed" for one in self.rejections)

    @property
    def dropped(self) -> dict[str, int]:
        """Number of rows by the reason why they were dropped."""
        return dict(Counter(f"{one.field} {one.reason}" for one in self.rejections if one.kind == "dropped"))

    def account(self) -> dict[str, Any]:
        """The numbers, for the manifest."""
        return {
            "read": self.read,
            "kept": self.kept,
            "dropped": self.dropped,
            "malformed": self.malformed,
            "splits": {split: {"read": n, "kept": self.splits[split]} for split, n in self.read_of.items()},
            "renamed": len(self.renamed),
            "duplicates": len(self.duplicates),
            "across_splits": self.across_splits,
            "other_languages": self.other_languages,
            "unread": dict(self.unread),
        }

    def __str__(self) -> str:
        lines = [f"{self.read:,} rows read, {self.kept:,} kept"]
        if len(self.read_of) > 1:
            of_splits = (f"{split} {self.splits[split]:,} of {n:,}" for split, n in self.read_of.items())
            lines[0] += f" ({', '.join(of_splits)})"
        lines += [f"{self.resumed:,} of them by a build that was stopped"] if self.resumed else []
        lines += [f"{count:,} dropped: {reason}" for reason, count in self.dropped.items()]
        lines += [f"{self.malformed:,} malformed"] if self.malformed else []
        lines += [f"{len(self.renamed):,} renamed, since their id was taken"] if self.renamed else []
        lines += [f"{len(self.duplicates):,} kept whose content an earlier row has too"] if self.duplicates else []
        if shared := self.across_splits:
            some = ", ".join(shared[:NAMED]) + (", ..." if len(shared) > NAMED else "")
            lines += [f"{len(shared):,} stated as one of another split is, so what is evaluated is trained on: {some}"]
        lines += [f"{self.other_languages:,} solutions not in Python 3 left out"] if self.other_languages else []
        if self.unread:
            keys = ", ".join(f"{key} ({rows:,} rows)" for key, rows in self.unread.most_common(NAMED))
            lines += [
                f"{len(self.unread):,} keys mean nothing here: {keys}{', ...' if len(self.unread) > NAMED else ''}"
            ]
        return "\n".join(lines)
