"""A lock that a killed run left does not make the next one wait forever; one that is in use stays."""

import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from torch.utils.file_baton import FileBaton

from rlef_plugin import build_locks

HOLD = """
import sys, time
from torch.utils.file_baton import FileBaton
assert FileBaton(sys.argv[1]).try_acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    (tmp_path / "py312_cpu" / "fused_adam").mkdir(parents=True)
    return tmp_path / "py312_cpu" / "fused_adam" / "lock"


@pytest.fixture
def left(lock: Path) -> Path:
    """A lock whose process was killed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    assert build_locks.abandoned() == set()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock.is_file() and build_locks.abandoned() == {lock}
    return lock


def test_a_run_that_waits_for_an_abandoned_lock_goes_on(left: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), build_locks.kept_clear(remove=True, look_s=0.01):
        FileBaton(str(left)).wait()  # for ever, if nobody removes it
    assert f"removed {left}" in caplog.text and build_locks.abandoned() == set()


def test_where_it_may_be_another_machines_a_lock_is_only_told_of(left: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), build_locks.kept_clear(remove=False):
        assert left.is_file() and f"{left} is held by no process here" in caplog.text


def test_a_lock_in_use_and_one_about_to_be_removed_stay(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock looks abandoned between its owner's `close` and `remove`, so one look is not enough."""
    lock.touch()
    looks = iter([{lock}, set(), {lock}, set()])
    ended = threading.Event()

    def look() -> set[Path]:
        found = next(looks, None)
        if found is None:
            ended.set()
        return found or set()

    monkeypatch.setattr(build_locks, "abandoned", look)
    build_locks._remove_abandoned(0.001, ended)
    assert lock.is_file()


def test_locks_are_looked_for_where_torch_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch.utils.cpp_extension import _get_build_directory

    for variable in ("TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
        monkeypatch.setenv(variable, str(tmp_path / variable))
        built = Path(_get_build_directory("one", verbose=False))
        (built / "lock").touch()
        assert build_locks.abandoned() == {built / "lock"}
