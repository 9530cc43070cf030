"""Rows -> a store, with an account of every row: read = kept + dropped + malformed, and nothing else.

Ids are made from names: characters that do not fit a file name become "_", and a second row that would get the same
id (upper and lower case taken as equal) gets "-2", a third "-3": ids depend on names and the order of the rows only.
Rows with the same content under two names are both kept and listed: what to do about them is a person's decision.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rlef_plugin.problems.convert import Converted, convert
from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.fields import RowError
from rlef_plugin.problems.writer import StoreWriter

logger = logging.getLogger(__name__)

OnMalformed = Literal["fatal", "skip"]
ID_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was not kept."""

    file: str
    row: int  # from 1
    field: str
    reason: str
    kind: Literal["malformed", "dropped"]

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.field} {self.reason}"


@dataclass(slots=True)
class BuildReport:
    """What became of the rows."""

    path: Path
    read: int = 0
    kept: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)
    renamed: list[tuple[str, str]] = field(default_factory=list)  # (name, id) where the plain id was taken
    duplicates: list[tuple[str, str]] = field(default_factory=list)  # (id, id of an earlier row with the same content)
    other_languages: int = 0  # solutions left out because they are not Python 3

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
            "renamed": len(self.renamed),
            "duplicates": len(self.duplicates),
            "other_languages": self.other_languages,
        }

    def __str__(self) -> str:
        lines = [f"{self.read} rows read, {self.kept} kept"]
        lines += [f"{count} dropped: {reason}" for reason, count in self.dropped.items()]
        lines += [f"{self.malformed} malformed"] if self.malformed else []
        lines += [f"{len(self.renamed)} renamed, since their id was taken"] if self.renamed else []
        lines += [f"{len(self.duplicates)} kept whose content an earlier row has too"] if self.duplicates else []
        lines += [f"{self.other_languages} solutions not in Python 3 left out"] if self.other_languages else []
        return "\n".join(lines)


def build_store(
    rows: Iterable[Mapping[str, Any]],
    out: Path | str,
    *,
    split: str = "train",
    on_malformed: OnMalformed = "fatal",
    generated_suffice: bool = False,
    overwrite: bool = False,
) -> BuildReport:
    """Write the store of these rows (see `read_rows`; plain dicts will do).

    Args:
        split: of rows that do not name one and whose file's name does not either.
        on_malformed: "fatal" stops at the first malformed row, "skip" leaves it out, logs it and goes on.
        generated_suffice: keep rows without private tests that have generated ones; the paper's count leaves them out.
        overwrite: replace a store at `out`. Anything there that is not a store is never touched.

    Raises:
        StoreError: a malformed row, no row worth keeping, a place that cannot be written; there is no new store then.
    """
    report = BuildReport(Path(out))
    ids = _Ids()
    seen: dict[str, str] = {}  # fingerprint -> first id
    with StoreWriter(out, overwrite=overwrite) as writer:
        for row in rows:
            report.read += 1
            converted = _convert(row, report, split, on_malformed, generated_suffice)
            if converted is not None:
                _keep(converted, ids, seen, writer, report)
        if not report.kept:
            account = "; ".join(str(report).splitlines())
            raise StoreError(f"no row is worth keeping ({account}): check that the source has CodeContests' keys")
        writer.account = report.account()
    return report


def _convert(
    row: Mapping[str, Any], report: BuildReport, split: str, on_malformed: OnMalformed, generated_suffice: bool
) -> Converted | None:
    file, number = getattr(row, "file", "rows"), getattr(row, "number", report.read)
    split, name = getattr(row, "split", None) or split, f"{Path(file).name.split('.')[0]}-{number}"
    try:
        if broken := getattr(row, "broken", None):
            raise RowError("the row", broken)
        return convert(row, split=split, name=name, generated_suffice=generated_suffice)
    except RowError as error:
        rejection = Rejection(file, number, error.field, error.reason, error.kind)
    if rejection.kind == "malformed":
        if on_malformed == "fatal":
            raise StoreError(f"{rejection}; repair the row, or have malformed rows skipped")
        logger.warning("skipped: %s", rejection)
    report.rejections.append(rejection)
    return None


def _keep(converted: Converted, ids: "_Ids", seen: dict[str, str], writer: StoreWriter, report: BuildReport) -> None:
    problem = replace(converted.problem, id=ids.new(converted.problem.name))
    if problem.id != plain_id(problem.name):
        report.renamed.append((problem.name, problem.id))
    first = seen.setdefault(writer.add(problem, converted.solutions), problem.id)
    if first != problem.id:
        report.duplicates.append((problem.id, first))
    report.kept += 1
    report.splits[problem.split] += 1
    report.other_languages += converted.other_languages


def plain_id(name: str) -> str:
    """The name with nothing in it that a file name or a command line would stumble over."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._-")[:ID_LENGTH] or "problem"


class _Ids:
    """Gives every id once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: Counter[str] = Counter()

    def new(self, name: str) -> str:
        plain = id_ = plain_id(name)
        while id_.casefold() in self._taken:
            self._next[plain.casefold()] += 1
            id_ = f"{plain}-{self._next[plain.casefold()] + 1}"
        self._taken.add(id_.casefold())
        return id_
