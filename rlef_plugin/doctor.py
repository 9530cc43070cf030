"""`rlef doctor`: whether training can work on this machine, as one table; each problem with what to change.

    version_checks   Python, the host, and the versions the host asks for (versions.py)
    check_sandbox    nsjail with its libraries, user namespaces, and whether a real jail holds (judge/check.py)
    machine_checks   CPU, memory, disk, GPUs, a C++ compiler

Imports nothing heavy. Says nothing about other nodes of a Ray cluster, nor about a particular recipe
(`rlef train RECIPE --dry-run` does).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlef_plugin.judge import Check, check_sandbox
from rlef_plugin.versions import version_checks

MIN_MEMORY_GB, MIN_DISK_GB = 6, 5  # of the CPU demo; a real model needs far more


def main() -> int:
    """Print the table; 0 if training can work here, else 1."""
    checks = run()
    Console().print(table(checks))
    return 0 if all(check.ok for check in checks) else 1


def run() -> list[Check]:
    return [*version_checks(), *check_sandbox(), *machine_checks()]


def table(checks: list[Check]) -> Table:
    rendered = Table("", "check", title="rlef doctor", title_justify="left")
    rendered.add_column("found", overflow="fold")
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[bold red]problem[/]"
        advice = "" if check.ok else f"\n[yellow]-> {escape(check.fix)}[/]"
        rendered.add_row(mark, check.name, escape(check.detail) + advice)
    return rendered


def machine_checks() -> list[Check]:
    memory_gb, disk_gb = _memory_bytes() / 1e9, shutil.disk_usage(".").free / 1e9
    cpu_only = "none: training runs only on the CPU host here (rlef.cpu_host=true), to try things out"
    return [
        Check("CPU", True, f"{len(os.sched_getaffinity(0))} cores for this process"),
        Check("memory", memory_gb >= MIN_MEMORY_GB, f"{memory_gb:.1f} GB", f"give it at least {MIN_MEMORY_GB} GB"),
        Check("disk", disk_gb >= MIN_DISK_GB, f"{disk_gb:.1f} GB free here", f"free at least {MIN_DISK_GB} GB"),
        Check("GPU", True, (gpus := _gpus()) or cpu_only),
        _compiler(needed=not gpus),
    ]


def _compiler(needed: bool) -> Check:
    """DeepSpeed builds its optimiser when it first runs, with what PyTorch calls; on GPUs it may be built already."""
    name = os.environ.get("CXX", "c++")
    found = shutil.which(name.split()[0]) if name.split() else None
    why = f"no {name}, which DeepSpeed builds its optimiser with" + ("" if needed else " unless that was done before")
    return Check("C++ compiler", bool(found) or not needed, found or why, "apt-get install g++, or name one in CXX")


def _memory_bytes() -> int:
    """Of the machine, or less where a container is limited."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, *_limits())


def _limits() -> Iterator[int]:
    yield sys.maxsize
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():  # "max" means no limit
            yield int(text)


def _gpus() -> str:
    """`2 x NVIDIA H100 80GB HBM3, 81559 MiB`, as the driver says; "" where it says nothing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    said = subprocess.run(query, capture_output=True, text=True)
    lines = said.stdout.strip().splitlines() if said.returncode == 0 else []
    return "; ".join(f"{lines.count(line)} x {line}" for line in dict.fromkeys(lines))
