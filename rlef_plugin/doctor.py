"""`rlef doctor`: whether training, or judging alone, can work on this machine; each problem with what to change.

    version_checks   Python, the host, and the versions the host asks for (versions.py); not for judging alone
    check_sandbox    kernel, nsjail, namespaces, and whether real jails hold and give right verdicts (judge/check.py)
    machine_checks   CPU, memory, disk, GPUs, a C++ compiler; for judging alone only the first two

Imports nothing heavy, so that a node that only judges needs no torch, no GPU and no openrlhf. Says nothing about other
nodes of a Ray cluster, nor about a particular recipe (`rlef train RECIPE --dry-run` does).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlef_plugin.judge import Check, check_sandbox
from rlef_plugin.judge.cgroups import cores
from rlef_plugin.versions import version_checks

MIN_MEMORY_GB, MIN_DISK_GB = 6, 5  # of the CPU demo; a real model needs far more
MIN_JUDGE_MEMORY_GB = 2  # one worker at its default limit, and what it is made of


def main(judge_only: bool = False, as_json: bool = False, console: Console | None = None) -> int:
    """Print what was found; 0 if all is well, else 1."""
    checks = run(judge_only)
    ok = all(check.ok for check in checks)
    if as_json:
        print(
            json.dumps(
                {
                    "ok": ok,
                    "checks": [asdict(check) | {"fix": check.fix if _advised(check) else ""} for check in checks],
                }
            )
        )
    else:
        (console or Console()).print(table(checks))
    return 0 if ok else 1


def run(judge_only: bool = False) -> list[Check]:
    if judge_only:
        return [*check_sandbox(), *_cpu_and_memory(MIN_JUDGE_MEMORY_GB)]
    return [*version_checks(), *check_sandbox(), *machine_checks()]


def table(checks: list[Check]) -> Table:
    """Without boxes: a long command can be copied from it, whatever the terminal's width."""
    rendered = Table(
        "", "", title="rlef doctor", title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0)
    )
    rendered.add_column(overflow="fold")
    for check in checks:
        good = "[yellow]warning[/]" if check.warning else "[green]ok[/]"
        mark = good if check.ok else "[bold red]problem[/]"
        advice = f"\n[yellow]-> {escape(check.fix)}[/]" if _advised(check) else ""
        rendered.add_row(mark, check.name, escape(check.detail) + advice)
    return rendered


def _advised(check: Check) -> bool:
    return check.warning or not check.ok


def machine_checks() -> list[Check]:
    disk_gb = shutil.disk_usage(".").free / 1e9
    cpu_only = "none: training runs only on the CPU host here (rlef.cpu_host=true), to try things out"
    return [
        *_cpu_and_memory(MIN_MEMORY_GB),
        Check("disk", disk_gb >= MIN_DISK_GB, f"{disk_gb:.1f} GB free here", f"free at least {MIN_DISK_GB} GB"),
        Check("GPU", True, (gpus := _gpus()) or cpu_only),
        _compiler(needed=not gpus),
    ]


def _cpu_and_memory(min_gb: int) -> list[Check]:
    memory_gb = _memory_bytes() / 1e9
    return [
        Check("CPU", True, f"{cores()} cores for this process"),
        Check("memory", memory_gb >= min_gb, f"{memory_gb:.1f} GB", f"give it at least {min_gb} GB"),
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
