"""One run at a time in a checkpoint folder, whatever became of the one before."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlef_plugin import owner
from rlef_plugin.errors import UsageError
from rlef_plugin.owner import FILE, owned

ELSEWHERE = {"name": "other", "node": "another machine", "process": 7, "started": 1.0}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "BEAT_S", 0.1)


def content(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / FILE).read_text()))


@contextmanager
def beating(folder: Path, **more: Any) -> Iterator[None]:
    """Another run, on another machine."""
    done, beats = threading.Event(), 0
    owner._write(folder / FILE, {**ELSEWHERE, **more, "beats": beats})

    def beat() -> None:
        nonlocal beats
        while not done.wait(0.02):
            beats += 1
            owner._write(folder / FILE, {**ELSEWHERE, **more, "beats": beats})

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_folder_has_an_owner_whose_count_goes_on_and_who_leaves_nothing(tmp_path: Path) -> None:
    with owned(tmp_path / "new"):
        assert content(tmp_path / "new")["process"] == os.getpid()
        while content(tmp_path / "new")["beats"] < 3:
            pass
    assert list((tmp_path / "new").iterdir()) == []


def test_a_second_run_on_this_machine_is_refused_at_once(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(UsageError, match=rf"ckpt.path=\S+ belongs to .* \(process {os.getpid()} on"):
        with owned(tmp_path):
            raise AssertionError("both own it")
    with owned(tmp_path):
        pass


def test_a_run_that_lives_elsewhere_is_noticed_by_its_count(tmp_path: Path) -> None:
    with beating(tmp_path), pytest.raises(UsageError, match=r"\(process 7 on another machine\).*end that one"):
        with owned(tmp_path):
            raise AssertionError("both own it")


def test_one_that_died_elsewhere_is_followed(tmp_path: Path) -> None:
    with beating(tmp_path):
        pass
    with owned(tmp_path):
        assert content(tmp_path)["process"] == os.getpid()


def test_one_that_was_killed_here_is_followed_without_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from rlef_plugin.owner import owned\n"
        "with owned(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert content(tmp_path)["process"] != os.getpid()
    monkeypatch.setattr(owner.time, "sleep", lambda seconds: pytest.fail("it waits"))
    with owned(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}"])
def test_a_file_that_says_nothing_is_nobodys(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with owned(tmp_path):
        assert content(tmp_path)["process"] == os.getpid()


def test_an_owner_who_was_followed_ends_and_leaves_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), owned(tmp_path):
        before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            owner._write(tmp_path / FILE, {**ELSEWHERE, "beats": 0})
            threading.Event().wait(60)
        finally:
            signal.signal(signal.SIGTERM, before)
    assert content(tmp_path)["name"] == "other"
