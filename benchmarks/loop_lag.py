"""How late the event loop of a judge's server is, while a benchmark or a test uses the judge.

A server that is started in `probed()` runs one more task: it sleeps for `TICK_S` again and again and writes down when
it was late, and by how much. Its wait for a core is taken off (the second number of /proc/thread-self/schedstat), so
that other programs on the machine do not count, but a thread that holds the interpreter's lock does.

Not covered: time that a hypervisor gives to another machine counts as late. Imported by the server itself, so standard
library only."""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

TICK_S = 0.01
WORTH_WRITING_S = 0.005


class Lag:
    """What the probe wrote: pairs of when, as `time.monotonic()` says it, and how many seconds late."""

    def __init__(self, path: str) -> None:
        self._path = path

    def worst_s(self, since: float = 0.0, until: float = float("inf")) -> float:
        pairs = (map(float, line.split()) for line in Path(self._path).read_text().splitlines())
        return max((late for when, late in pairs if since <= when <= until), default=0.0)

    def close(self) -> None:
        os.unlink(self._path)


@contextmanager
def probed() -> Iterator[Lag]:
    """Servers that are started meanwhile are watched, for as long as they live."""
    descriptor, path = tempfile.mkstemp(prefix="loop-lag-")
    os.close(descriptor)
    real = subprocess.Popen

    def start(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
        watched = f"from benchmarks import loop_lag\nloop_lag.watch(server, {path!r})\nserver.main("
        return real([*argv[:-1], argv[-1].replace("server.main(", watched)], **options)

    with mock.patch.object(subprocess, "Popen", start):
        yield Lag(path)


def watch(server: ModuleType, path: str) -> None:
    """Called in the server's process before its event loop runs."""
    serve = server.serve

    async def serve_and_tick(*arguments: object) -> None:
        ticking = asyncio.create_task(_tick(path))
        await serve(*arguments)
        ticking.cancel()

    server.serve = serve_and_tick  # type: ignore[attr-defined]


async def _tick(path: str) -> None:
    with open(path, "a", buffering=1) as file:
        while True:
            waited, asked = _run_delay_s(), time.monotonic()
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            late = now - asked - TICK_S - (_run_delay_s() - waited)
            if late > WORTH_WRITING_S:
                file.write(f"{now:.6f} {late:.6f}\n")


def _run_delay_s() -> float:
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
