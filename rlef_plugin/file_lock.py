"""A lock on a file, held until the file is closed or its process ends."""

import fcntl
from typing import IO

from rlef_plugin.errors import UsageError


def hold(file: IO[bytes], taken: UsageError, instead: str) -> None:
    """Lock the file for this process alone, or close it and raise.

    Raises:
        UsageError: `taken`, if another process holds it; one of its kind if the file system has no locks, which says
            what to do `instead`.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise taken from None
    except OSError as error:
        file.close()
        raise type(taken)(
            f"{file.name} cannot be locked ({error.strerror}), so that two processes might write there: mount its "
            f"file system with flock, or {instead}"
        ) from None
