"""What /proc says about processes: children, and the memory of a jail. For the server; a jail itself has no /proc."""

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
