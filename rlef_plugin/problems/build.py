"""Rows -> a store, with an account of every row (report.py).

Ids are made from names: characters that do not fit a file name become "_", and a second row that would get the same
id (upper and lower case taken as equal) gets "-2", a third "-3": ids depend on names and the order of the rows only.
Rows with the same content under two names are both kept and listed: what to do about them is a person's decision.

A build from a `Source` goes on where an earlier one was killed, if source and settings are the same; the store is the
same to the byte. What was read before is read from the journal and not judged again.
"""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rlef_plugin.problems.attributes import split_name
from rlef_plugin.problems.convert import FIELDS, IGNORED, Converted, convert
from rlef_plugin.problems.encode import statement
from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.fields import RowError
from rlef_plugin.problems.formats import Adapt
from rlef_plugin.problems.layout import VERSION
from rlef_plugin.problems.report import BuildReport, Rejection
from rlef_plugin.problems.rows import Row
from rlef_plugin.problems.sources import Source
from rlef_plugin.problems.writer import StoreWriter

logger = logging.getLogger(__name__)

OnMalformed = Literal["fatal", "skip"]
KNOWN = {*FIELDS, *IGNORED}
ID_LENGTH = 120
CASE = re.compile(r"--\d+$")  # a rollout of a problem, as `rlef repair` names it: as long as an id, and this
CASE_LENGTH = ID_LENGTH + 20


def build_store(
    rows: Source | Iterable[Mapping[str, Any]],
    out: Path | str,
    *,
    split: str = "train",
    on_malformed: OnMalformed = "fatal",
    generated_suffice: bool = False,
    overwrite: bool = False,
    adapt: Adapt | None = None,
    on_row: Callable[[BuildReport], None] | None = None,
) -> BuildReport:
    """Write the store of these rows (see `open_source`; plain dicts will do, but cannot be continued).

    Args:
        split: of rows that do not name one and whose source does not either (sources.py).
        on_malformed: "fatal" stops at the first malformed row, "skip" leaves it out, logs it and goes on.
        generated_suffice: keep training rows without private tests that have generated ones; the paper's count
            leaves them out. In other splits they always suffice.
        overwrite: replace a store at `out`. Anything there that is not a store is never touched.
        adapt: a row in another layout -> the same in ours (formats.py).
        on_row: called after every row, for a progress bar.

    Raises:
        StoreError: a malformed row, no row worth keeping, a place that cannot be written; there is no new store then.
    """
    settings = (VERSION, split, generated_suffice, repr(adapt))
    key = f"{settings} {rows.key}" if isinstance(rows, Source) else None
    with StoreWriter(out, overwrite=overwrite, key=key) as writer:
        building = _Building(writer, split, on_malformed, generated_suffice, adapt)
        report = building.report
        for done in writer.done:
            building.take_over(done)
        report.resumed = report.read
        columns = FIELDS if adapt is None else getattr(adapt, "columns", None)
        for row in rows.read(report.read, columns) if isinstance(rows, Source) else rows:
            building.row(row)
            if on_row:
                on_row(report)
        if not report.kept:
            if not report.read:
                raise StoreError("there is no row to read: the source is empty")
            account = "; ".join(str(report).splitlines())
            raise StoreError(f"no row is worth keeping ({account}): check that the source has CodeContests' keys")
        writer.manifest = {"source": building.source(rows), "account": report.account()}
    return report


class _Building:
    """A build under way: what is known of the rows so far."""

    def __init__(
        self, writer: StoreWriter, split: str, on_malformed: OnMalformed, generated_suffice: bool, adapt: Adapt | None
    ) -> None:
        self.writer, self.report = writer, BuildReport(writer.out)
        self.split, self.on_malformed = split_name(split), on_malformed
        self.generated_suffice, self.adapt = generated_suffice, adapt
        self.ids, self.rows_of = _Ids(), Counter[str]()
        self.seen: dict[str, str] = {}  # fingerprint -> first id
        self.asked: dict[str, tuple[str, str]] = {}  # statement -> first id and its split

    def row(self, row: Mapping[str, Any]) -> None:
        """Convert and write, or reject."""
        if not isinstance(row, Row):
            row = Row(row, "rows", self.report.read + 1)
        unread = sorted({*row, *row.left_out} - KNOWN) if self.adapt is None else []
        note: dict[str, Any] = {"file": row.file, "unread": unread} if unread else {"file": row.file}
        try:
            converted = self._convert(row)
        except RowError as error:
            named = row.get("split")
            split = split_name(named) if named and isinstance(named, str) else row.split or self.split
            rejected = Rejection(row.file, row.number, split, error.field, error.reason, error.kind)
            self._reject(rejected)
            note["rejected"] = dataclasses.asdict(rejected)
            self.writer.pass_over(note)
        else:
            problem = replace(converted.problem, id=self.ids.new(converted.problem.name))
            note |= {"name": problem.name, "other_languages": converted.other_languages}
            note["statement"] = statement(problem.description, problem.metadata)
            self._keep(problem.id, problem.split, self.writer.add(problem, converted.solutions, note), note)
        self._count(note)

    def take_over(self, done: Mapping[str, Any]) -> None:
        """A row that an earlier build has dealt with."""
        if entry := done["entry"]:
            self.ids.new(done["name"])
            self._keep(entry["id"], entry["split"], entry["fingerprint"], done)
        else:
            self._reject(Rejection(**done["rejected"]))
        self._count(done)

    def source(self, rows: object) -> dict[str, Any]:
        """For the manifest: what was read. No paths and no dates, which would make equal stores differ."""
        files = [{"name": Path(file).name, "rows": count} for file, count in sorted(self.rows_of.items())]
        return {"name": rows.name if isinstance(rows, Source) else "rows", "files": files}

    def _convert(self, row: Row) -> Converted:
        if row.broken:
            raise RowError("the row", row.broken)
        fields = row if self.adapt is None else self.adapt(row)
        name = f"{Path(row.file).name.split('.')[0]}-{row.number}"
        return convert(fields, split=row.split or self.split, name=name, generated_suffice=self.generated_suffice)

    def _count(self, note: Mapping[str, Any]) -> None:
        self.report.read += 1
        self.rows_of[note["file"]] += 1
        self.report.unread.update(note.get("unread", ()))

    def _reject(self, rejection: Rejection) -> None:
        if rejection.kind == "malformed":
            if self.on_malformed == "fatal":
                raise StoreError(f"{rejection}; repair the row, or leave malformed rows out with --skip-malformed")
            logger.warning("skipped: %s", rejection)
        self.report.rejections.append(rejection)
        self.report.read_of[rejection.split] += 1

    def _keep(self, id_: str, split: str, fingerprint: str, note: Mapping[str, Any]) -> None:
        report = self.report
        if id_ != plain_id(note["name"]):
            report.renamed.append((note["name"], id_))
        if (same := self.seen.setdefault(fingerprint, id_)) != id_:
            report.duplicates.append((id_, same))
        first, split_of_first = self.asked.setdefault(note["statement"], (id_, split))
        if split_of_first != split:
            report.across_splits.append(f"{id_} ({split}) is {first} ({split_of_first})")
        report.kept += 1
        report.splits[split] += 1
        report.read_of[split] += 1
        report.other_languages += note["other_languages"]


def plain_id(name: str) -> str:
    """The name with nothing in it that a file name or a command line would stumble over."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._-")
    return plain[: CASE_LENGTH if CASE.search(plain) else ID_LENGTH] or "problem"


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
