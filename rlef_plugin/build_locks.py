"""Locks that a killed run left where PyTorch builds DeepSpeed's C++ extensions.

Whoever builds one makes a file `lock` beside it and keeps it open; whoever else needs the extension waits until that
file is gone (torch/utils/file_baton.py). DeepSpeed asks for its extensions at every start, and even a look that finds
nothing to build takes the lock for a second. A process killed in that second leaves it there, and every later run
waits for it forever, without a word. A lock that no process has open is such a one.

Not promised: anything about processes of other machines or other users. So where the folder may be shared between
machines, which is everywhere but on the CPU host, abandoned locks are only told of.
"""

import logging
import os
from pathlib import Path

log = logging.getLogger("rlef")


def clear(remove: bool) -> None:
    """Before anything is started that would wait."""
    for lock in abandoned():
        if remove:
            lock.unlink(missing_ok=True)
            log.warning("removed %s, which a killed run had left", lock)
        else:
            log.warning("%s is held by no process here; if none elsewhere builds, remove it, or the run waits", lock)


def abandoned() -> list[Path]:
    """Locks that no process of this machine has open."""
    locks = [*_folder().glob("*/lock"), *_folder().glob("*/*/lock")]
    held = _open_files() if locks else set()
    return [lock for lock in locks if os.path.realpath(lock) not in held]


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
