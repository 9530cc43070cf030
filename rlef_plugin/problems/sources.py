"""Where rows come from: files of this machine, or of a dataset on the Hugging Face hub.

A folder is searched to the bottom, and its files are read in the order of their paths. A dataset's files are found by
the host's `datasets` package, which knows the hub's conventions and credentials, and are streamed from there, only the
columns that are needed; nothing is kept on disk. A source can be read again from any row on, and its `key` changes
whenever its rows may have: paths, sizes and times of files, or the hub's addresses, which hold the commit.

A file belongs to the split under which the dataset lists it; here, to the one split whose name is a word of the file's
name (test2.jsonl, my-train-set.parquet), else to that of the nearest folder so named, up to the place that was named.
YAML files are named after their problem, so only their folders count. What a row says of itself goes first (build.py).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from rlef_plugin.problems.attributes import split_name
from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.rows import READERS, Columns, Row, parquet_rows, rows_of, suffix

SPLITS = ("train", "valid", "validation", "test")
Opened = Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Source:
    """Files with rows."""

    name: str
    files: tuple[tuple[str, Opened, str | None], ...]  # path or address, how it is opened, its split if it has one
    key: str
    total: int | None = None  # rows, where that is known without reading them

    def read(self, skip: int = 0, columns: Columns = None) -> Iterator[Row]:
        """Rows from the one after `skip` on; what is skipped is not decoded, nor are columns that are not named.

        Raises:
            StoreError: a file breaks off in the middle.
        """
        seen = 0
        for file, opened, split in self.files:
            for row in rows_of(file, opened, skip - seen, columns):
                seen += 1
                if row is not None:
                    row.split = split
                    yield row


def read_rows(path: Path | str) -> Iterator[Row]:
    """All rows of a file or a folder.

    Raises:
        StoreError: there is nothing to read at `path`, or a file breaks off in the middle.
    """
    yield from local_source([Path(path)]).read()


def open_source(places: Iterable[Path | str], *, revision: str | None = None) -> Source:
    """Files and folders, or one dataset of the hub, which is what is not there and looks like OWNER/NAME.

    Raises:
        StoreError: there is nothing to read.
    """
    places = list(places)
    if len(places) == 1 and not Path(places[0]).exists() and str(places[0]).count("/") == 1:
        owner, name = str(places[0]).split("/")
        if owner.strip(".~") and name and not suffix(name):
            return hub_source(str(places[0]), revision)
    return local_source(map(Path, places))


def local_source(paths: Iterable[Path]) -> Source:
    paths = list(paths)
    files = [(file, _split_of(file, path)) for path in paths for file in _files(path)]
    facts = [(str(f.absolute()), (stat := f.stat()).st_size, stat.st_mtime_ns, split) for f, split in files]
    parquet = all(file.name.endswith(".parquet") for file, _ in files)
    return Source(
        name=" ".join(path.name for path in paths),
        files=tuple((str(file), partial(_open_file, file), split) for file, split in files),
        key=repr(facts),
        total=sum(parquet_rows(file) for file, _ in files) if parquet else None,
    )


def hub_source(dataset: str, revision: str | None = None) -> Source:
    """The files of a dataset, split by split; `revision` is a branch, a tag or a commit of it.

    Raises:
        StoreError: `datasets` is missing, the hub cannot be reached, or the dataset is not made of files we read.
    """
    try:
        import fsspec
        from datasets import load_dataset_builder
    except ImportError as error:
        raise StoreError(
            f"{dataset} is read from the hub by the package `datasets`, which cannot be imported ({error}): "
            "install it, or download the dataset and name its folder"
        ) from error
    try:
        builder = load_dataset_builder(dataset, revision=revision)
    except Exception as error:  # of the network, the hub, the dataset's card: all kinds
        raise StoreError(
            f"{dataset} cannot be read from the hub ({' '.join(str(error).split())[:300]}): "
            "check its name and the network, or download it and name its folder"
        ) from error
    listed = {str(split): list(map(str, files)) for split, files in (builder.config.data_files or {}).items()}
    # Files of which it knows no split are all listed under "train".
    alone = set(listed) == {"train"}
    named = [
        (file, _split_in(PurePosixPath(file).name) if alone else split_name(split))
        for split, files in listed.items()
        for file in files
    ]
    unknown = [address for address, _ in named if not suffix(address)]
    if unknown or not named:
        found = unknown[0] if unknown else "no files"
        raise StoreError(f"{dataset} on the hub has {found}, but what is read is {kinds()}: download and convert it")
    splits: Any = builder.info.splits
    return Source(
        name=dataset,
        files=tuple((address, partial(_open_address, fsspec, address), split) for address, split in named),
        key=repr(named),
        total=sum(split.num_examples for split in splits.values()) if splits else None,
    )


def _split_of(file: Path, place: Path) -> str | None:
    """What the names of a file and of its folders say, up to the place that was named."""
    folders = [file.parent.absolute(), *file.parent.absolute().parents]
    inside = len(file.relative_to(place).parts) if place.is_dir() else 1
    found = (split_name(folder.name) for folder in folders[:inside] if folder.name in SPLITS)
    return _split_in(file.name) or next(found, None)


def _split_in(name: str) -> str | None:
    """The one split whose name is a word of a file's name."""
    if suffix(name) in (".yaml", ".yml"):
        return None
    words = set(re.split("[^a-z]+", name.lower())).intersection(SPLITS)
    return split_name(words.pop()) if len(words) == 1 else None


def _open_file(file: Path) -> IO[bytes]:
    return file.open("rb")


def _open_address(fsspec: Any, address: str) -> IO[bytes]:
    opened: IO[bytes] = fsspec.open(address, "rb").open()
    return opened


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise StoreError(f"{path} does not exist: name a file or a folder of {kinds()}")
    if (path / "manifest.json").exists():
        raise StoreError(f"{path} is a problem store already: use it as it is, or name what it was built from")
    if path.is_file():
        found = [path] if suffix(path.name) else []
    else:
        inside = (p for p in path.rglob("*") if p.is_file() and suffix(p.name))
        found = sorted(p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts))
    if not found:
        raise StoreError(f"{path} holds no rows that can be read: name a file or a folder of {kinds()}")
    return found


def kinds() -> str:
    return ", ".join(READERS)
