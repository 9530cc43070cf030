"""What every test can rely on: nothing is downloaded, GPU tests skip without a GPU, the long ones come last."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ProcessPoolExecutor

    from cpu_training import Tiny

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tensors here are small: a second thread costs more than it gives
os.environ.pop("RLEF_PLUGIN_DISABLE", None)

LAST = ("host", "e2e")  # minutes each: a broken unit test should not have to wait for them


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: max(
            (LAST.index(mark.name) + 1 for mark in item.iter_markers() if mark.name in LAST), default=0
        )
    )
    if shutil.which("nvidia-smi") is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU: there is no nvidia-smi here"))


@pytest.fixture(scope="session")
def host_process() -> "Iterator[ProcessPoolExecutor]":
    """Where tests marked `@in_host` run."""
    import in_host

    with in_host.started() as process:
        yield process


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "Tiny":
    """The problem store and the warmed-up model of the end-to-end tests; half a minute to make.

    RLEF_TEST_TINY names a folder that keeps them for the next session; made anew there when the code they are made by
    changes.
    """
    from cpu_training import make_tiny

    kept = os.environ.get("RLEF_TEST_TINY")
    return make_tiny(Path(kept) if kept else tmp_path_factory.mktemp("tiny"))
