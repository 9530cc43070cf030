"""Locks that a killed run left where PyTorch builds DeepSpeed's C++ extensions.

Whoever builds one makes a file `lock` beside it and keeps it open; whoever else needs the extension waits until that
file is gone (torch/utils/file_baton.py). DeepSpeed asks for its extensions at every start, and even a look that finds
nothing to build takes the lock for a second. A process killed in that second leaves it there, and every later run
waits for it forever, without a word, as does a run that waits already. A lock that no process has open is such a one,
if that is so at two looks: its owner closes it a moment before it removes it.

Not promised: anything about processes of other machines or other users. So where the folder may be shared between
machines, which is everywhere but on the CPU host, abandoned locks are only told of, and only at the start.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("rlef")

LOOK_S = 5.0


@contextmanager
def kept_clear(remove: bool, look_s: float = LOOK_S) -> Iterator[None]:
    """While a run may wait for locks, remove those that were abandoned, or tell of them once."""
    if not remove:
        for lock in abandoned():
            log.warning("%s is held by no process here; if none elsewhere builds, remove it, or the run waits", lock)
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_remove_abandoned, args=(look_s, ended), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def abandoned() -> set[Path]:
    """Locks that no process of this machine has open."""
    locks = [*_folder().glob("*/lock"), *_folder().glob("*/*/lock")]
    held = _open_files() if locks else set()
    return {lock for lock in locks if os.path.realpath(lock) not in held}


def _remove_abandoned(look_s: float, ended: threading.Event) -> None:
    before = abandoned()
    while not ended.wait(look_s):
        now = abandoned()
        for lock in now & before:
            lock.unlink(missing_ok=True)
            log.warning("removed %s, which a killed run had left", lock)
        before = now - before


def _folder() -> Path:
    """As in torch.utils.cpp_extension, which takes seconds to import."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cache / "torch_extensions")


def _open_files() -> set[str]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            found |= {os.readlink(descriptor) for descriptor in folder.iterdir()}
        except OSError:
            continue  # it has just ended, or is another user's
    return found
