"""A lock that a killed run left does not make the next one wait forever; one that is in use stays."""

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_lock_is_abandoned_once_its_process_was_killed(lock: Path, caplog: pytest.LogCaptureFixture) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    assert build_locks.abandoned() == []
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock.is_file() and build_locks.abandoned() == [lock]
    with caplog.at_level(logging.WARNING):
        build_locks.clear(remove=False)
        assert lock.is_file() and f"{lock} is held by no process here" in caplog.text
        build_locks.clear(remove=True)
    assert not lock.exists() and f"removed {lock}" in caplog.text
    assert build_locks.abandoned() == []


def test_locks_are_looked_for_where_torch_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch.utils.cpp_extension import _get_build_directory

    for variable in ("TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
        monkeypatch.setenv(variable, str(tmp_path / variable))
        built = Path(_get_build_directory("one", verbose=False))
        (built / "lock").touch()
        assert build_locks.abandoned() == [built / "lock"]
