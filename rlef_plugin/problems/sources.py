"""Where rows come from: files of this machine, or of a dataset on the Hugging Face hub.

A folder is searched to the bottom, and its files are read in the order of their paths. A dataset's files are found by
the host's `datasets` package, which knows the hub's conventions and credentials, and are streamed from there, only the
columns that are needed; nothing is kept on disk. A source can be read again from any row on, and its `key` changes
whenever its rows may have: paths, sizes and times of files, or the hub's addresses, which hold the commit.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.rows import READERS, Row, parquet_rows, rows_of, suffix

Opened = Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Source:
    """Files with rows."""

    name: str
    files: tuple[tuple[str, Opened], ...]  # path or address, and how it is opened
    key: str
    total: int | None = None  # rows, where that is known without reading them

    def read(self, skip: int = 0) -> Iterator[Row]:
        """Rows from the one after `skip` on; what is skipped is not decoded.

        Raises:
            StoreError: a file breaks off in the middle.
        """
        seen = 0
        for file, opened in self.files:
            for row in rows_of(file, opened, skip - seen):
                seen += 1
                if row is not None:
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
    files = [file for path in paths for file in _files(path)]
    facts = [(str(file.absolute()), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    parquet = all(file.name.endswith(".parquet") for file in files)
    return Source(
        name=" ".join(path.name for path in paths),
        files=tuple((str(file), partial(_open_file, file)) for file in files),
        key=repr(facts),
        total=sum(map(parquet_rows, files)) if parquet else None,
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
    addresses = [str(file) for files in (builder.config.data_files or {}).values() for file in files]
    unknown = [address for address in addresses if not suffix(address)]
    if unknown or not addresses:
        found = unknown[0] if unknown else "no files"
        raise StoreError(f"{dataset} on the hub has {found}, but what is read is {kinds()}: download and convert it")
    splits: Any = builder.info.splits
    return Source(
        name=dataset,
        files=tuple((address, partial(_open_address, fsspec, address)) for address in addresses),
        key=repr(addresses),
        total=sum(split.num_examples for split in splits.values()) if splits else None,
    )


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
