"""What the .pth file costs every start of Python in an environment that has the plugin.

Two environments that differ in the plugin alone, started in turns so that load and clock drift hit both. Counted are
the CPU seconds of the child (user + system, from wait4): wall time on a busy machine measures the neighbours.

    .venv/bin/python benchmarks/bench_hook.py [pairs]
"""

import os
import random
import statistics
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST = "openrlhf.cli.train_ppo_ray"
CASES = {
    "any process": ["-c", "pass"],
    "the host without --env": ["-m", HOST, "--x"],
    "the host with --env, switched off": ["-m", HOST, "--env", "x"],
}


def make_environments(folder: Path) -> tuple[Path, Path]:
    """Interpreters of (an environment without the plugin, one with it); both have an empty module for the host."""
    host = folder / "host" / "openrlhf" / "cli"
    host.mkdir(parents=True)
    for file in (host.parent / "__init__.py", host / "__init__.py", host / "train_ppo_ray.py"):
        file.touch()
    return _make(folder / "plain", host.parents[1], plugin=False), _make(
        folder / "plugin", host.parents[1], plugin=True
    )


def _make(folder: Path, host: Path, plugin: bool) -> Path:
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python3.*/site-packages"))
    (site / "host.pth").write_text(f"{host}\n")
    if plugin:
        (site / "rlef_plugin").symlink_to(ROOT / "rlef_plugin")  # in place, as a wheel's files are
        (site / "rlef_plugin_hook.pth").symlink_to(ROOT / "rlef_plugin" / "hook.pth")
    return folder / "bin" / "python"


def cpu_ms(command: Sequence[str]) -> float:
    """CPU milliseconds of one run.

    Raises:
        RuntimeError: it failed, so there is nothing to measure.
    """
    child = os.posix_spawn(command[0], command, {**os.environ, "RLEF_PLUGIN_DISABLE": "1"})
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise RuntimeError(f"{command} ended with status {status}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def measure(plain: Path, plugin: Path, arguments: Sequence[str], pairs: int) -> tuple[float, float]:
    """Medians of (CPU ms of a start without the plugin, CPU ms that the plugin adds)."""
    without, added = [], []
    for _ in range(pairs):
        runs = {python: 0.0 for python in random.sample([plain, plugin], 2)}  # the order is drawn for each pair
        for python in runs:
            runs[python] = cpu_ms([str(python), *arguments])
        without.append(runs[plain])
        added.append(runs[plugin] - runs[plain])
    return statistics.median(without), statistics.median(added)


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        environments = make_environments(Path(folder))
        print(f"{'':36}{'plain':>10}{'added':>10}   (median CPU ms of {pairs} interleaved pairs)")
        for name, arguments in CASES.items():
            without, added = measure(*environments, arguments, pairs)
            print(f"{name:36}{without:10.2f}{added:10.3f}")


if __name__ == "__main__":
    main()
