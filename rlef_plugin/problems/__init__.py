"""Problems: from rows in files to records in a store that every process of a training run shares.

    rows.py      files (.jsonl, .jsonl.gz, .parquet, .yaml) -> raw rows that know their file and number
    convert.py   raw row in CodeContests' schema -> Problem and Solutions, or the field that is wrong (fields.py)
    build.py     rows -> store, with an account of every row that was not kept
    writer.py    records -> store on disk, in one step or not at all (layout.py)
    store.py     the store: memory-mapped, by problem id; stores.py: several of them as one
    records.py   Problem, TestCase, Solution
    examples/    the plugin's own small set of problems, one YAML file each

Importing this package costs no more than the records; the store's pyarrow is imported on first use.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlef_plugin.problems.errors import StoreError, UnknownProblemError
from rlef_plugin.problems.records import Problem, Solution, TestCase

if TYPE_CHECKING:
    from rlef_plugin.problems.build import BuildReport, build_store
    from rlef_plugin.problems.rows import Row, read_rows
    from rlef_plugin.problems.store import ProblemStore
    from rlef_plugin.problems.stores import ProblemStores
    from rlef_plugin.problems.writer import StoreWriter

EXAMPLES = Path(__file__).parent / "examples"  # `read_rows(EXAMPLES)`

_LAZY = {
    "BuildReport": "build",
    "build_store": "build",
    "Row": "rows",
    "read_rows": "rows",
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
    "StoreError",
    "StoreWriter",
    "TestCase",
    "UnknownProblemError",
    "build_store",
    "read_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
