"""One run at a time in a checkpoint folder.

A driver whose node was cut off, or whose job was queued again too early, may live on beside its successor and write
into the checkpoints that this one goes on from. So the folder's owner file holds a name and a count that the owner
raises every `BEAT_S` seconds. A run that finds one watches it for three beats: it refuses to start if the count goes
on, and takes over if it does not, or at once if that process was on this machine and is gone. An owner that finds
another's name there ends. No clocks are compared, and no locks are needed, which not all shared file systems have.

Not promised: that two runs which begin in the same seconds notice each other before the first beat."""

import contextlib
import json
import logging
import os
import platform
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlef_plugin.errors import UsageError
from rlef_plugin.judge.procfs import started_s

FILE, BEAT_S = "owner.json", 15.0
KEYS = {"name", "node", "process", "started", "beats"}

log = logging.getLogger("rlef")


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """While this lasts, `folder` is this process's.

    Raises:
        UsageError: another run that is alive owns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    if (owner := _read(file)) and _lives(file, owner):
        raise UsageError(
            f"ckpt.path={folder} belongs to a run that is alive (process {owner['process']} on {owner['node']}), and "
            "both would write its checkpoints: end that one, or choose another ckpt.path"
        )
    mine = {
        "name": uuid.uuid4().hex,
        "node": platform.node(),
        "process": os.getpid(),
        "started": started_s(os.getpid()),
    }
    _write(file, {**mine, "beats": 0})
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(file, mine, done), name="checkpoint owner", daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
        if (_read(file) or mine)["name"] == mine["name"]:
            file.unlink(missing_ok=True)


def _beat(file: Path, mine: dict[str, Any], done: threading.Event) -> None:
    beats = 0
    while not done.wait(BEAT_S):
        owner, beats = _read(file), beats + 1
        if owner and owner["name"] != mine["name"]:
            log.error(
                "process %s on %s has taken over %s: this run ends", owner["process"], owner["node"], file.parent
            )
            os.kill(os.getpid(), signal.SIGTERM)
            return
        with contextlib.suppress(OSError):  # a full disk, say, is noticed by what needs it
            _write(file, {**mine, "beats": beats})


def _lives(file: Path, owner: dict[str, Any]) -> bool:
    if owner["node"] == platform.node():
        return bool(started_s(owner["process"]) == owner["started"])
    log.info("%s has an owner on %s: looking for %g s whether it is alive", file.parent, owner["node"], 3 * BEAT_S)
    until = time.monotonic() + 3 * BEAT_S
    while time.monotonic() < until:
        time.sleep(BEAT_S / 10)
        if (_read(file) or owner)["beats"] != owner["beats"]:
            return True
    return False


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() >= KEYS else None


def _write(file: Path, content: dict[str, Any]) -> None:
    unfinished = file.with_name(f".{file.name}.{content['name']}")
    unfinished.write_text(json.dumps(content))
    os.replace(unfinished, file)
