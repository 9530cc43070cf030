"""What /proc says about processes: children, and the memory of a jail. For the server; a jail itself has no /proc."""

import os
from pathlib import Path


def parents() -> dict[int, int]:
    """Of every process on this machine that can be seen."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it has just ended
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def descendants(root: int) -> set[int]:
    above = parents()
    found: set[int] = set()
    frontier = {root}
    while frontier:
        frontier = {process for process, parent in above.items() if parent in frontier}
        found |= frontier
    return found


def memory_bytes(process: int) -> int:
    """Resident memory, pages shared with others counted in parts; 0 if the process is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def total_memory_bytes(root: int) -> int:
    """Of all processes below `root`."""
    return sum(map(memory_bytes, descendants(root)))


def inherit_code(root: int) -> None:
    """Lets the forks of the runner below `root` (nsjail) inherit the page table of the interpreter's code.

    Linux leaves that out for a mapping that was never written to, so that each child faults its way through it again
    (34 of 196 page faults a test). Writing one byte of it, as it was, changes that. Only an economy: where it is not
    allowed, nothing happens. The runner must not have run any program yet."""
    try:
        (runner,) = Path(f"/proc/{root}/task/{root}/children").read_text().split()
        maps = Path(f"/proc/{runner}/maps").read_text().splitlines()
        code = [line.split()[0] for line in maps if " r-xp " in line and "python" in line]
        with open(f"/proc/{runner}/mem", "r+b", buffering=0) as memory:
            for start in (int(mapping.partition("-")[0], 16) for mapping in code):
                os.pwrite(memory.fileno(), os.pread(memory.fileno(), 1, start), start)
    except (OSError, ValueError):
        pass
