"""Problems: from rows in files to records in a store that every process of a training run shares.

    sources.py   which files there are, here or on the hub
    rows.py      files (.jsonl, .jsonl.gz, .parquet, .yaml) -> raw rows that know their file and number
    formats.py   rows in other layouts -> rows in CodeContests' schema
    convert.py   raw row in CodeContests' schema -> Problem and Solutions, or the field that is wrong (attributes.py,
                 fields.py)
    build.py     rows -> store, with an account of every row that was not kept (report.py)
    writer.py    records -> store on disk, in one step or not at all (encode.py, layout.py, stream.py); journal.py to
                 go on
    store.py     the store: memory-mapped, by problem id; stores.py: several of them as one
    records.py   Problem, TestCase, Solution
    verify.py    a store's own programs, judged; judged.py: what that says; clean.py: a store without what is unsound
    stats.py     what is in a store, in numbers and as a picture
    examples/    the plugin's own small set of problems, one YAML file each

Importing this package costs no more than the records; the store's pyarrow is imported on first use.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlef_plugin.problems.errors import StoreError, UnknownProblemError
from rlef_plugin.problems.records import Problem, Solution, TestCase

if TYPE_CHECKING:
    from rlef_plugin.problems.build import build_store
    from rlef_plugin.problems.report import BuildReport
    from rlef_plugin.problems.rows import Row
    from rlef_plugin.problems.sources import Source, open_source, read_rows
    from rlef_plugin.problems.store import ProblemStore
    from rlef_plugin.problems.stores import ProblemStores
    from rlef_plugin.problems.writer import StoreWriter

EXAMPLES = Path(__file__).parent / "examples"  # `read_rows(EXAMPLES)`

_LAZY = {
    "BuildReport": "report",
    "build_store": "build",
    "Row": "rows",
    "Source": "sources",
    "open_source": "sources",
    "read_rows": "sources",
    "ProblemStore": "store",
    "ProblemStores": "stores",
    "StoreWriter": "writer",
}

__all__ = [
    "EXAMPLES",
    "BuildReport",
    "Problem",
    "ProblemStore",
    "ProblemStores",
    "Row",
    "Solution",
    "Source",
    "StoreError",
    "StoreWriter",
    "TestCase",
    "UnknownProblemError",
    "build_store",
    "open_source",
    "read_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
