"""What /proc says about processes: children, memory, CPU time and delay of a jail, and when one was started. A jail
itself has no /proc."""

import contextlib
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
UNCOUNTED_PROCESSES = 2  # what they can make the kernel hold fits into a jail's margin
ORDINARY_SOCKETS = 64  # theirs, too
SOCKET_BYTES = 212992  # that a socket can hold unread, by Linux' default
MAPPING_BYTES, MAPS_LINE_BYTES, MAPS_BYTES = 256, 48, 1 << 20
LISTS_CHILDREN = os.path.exists("/proc/thread-self/children")
type Processes = dict[int, tuple[int, float]]  # by number: the parent's, and CPU seconds with those of reaped children


def read_processes() -> Processes:
    """All processes of this machine that can be seen."""
    found = {int(entry): read_process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
    return {process: said for process, said in found.items() if said}


def read_process(process: int) -> tuple[int, float] | None:
    """None if it has just ended."""
    fields = _stat(process)
    return (int(fields[1]), sum(map(int, fields[11:15])) / TICKS_A_SECOND) if fields else None


def started_s(process: int) -> float:
    """When, in seconds since this machine was; 0 if there is no such process."""
    fields = _stat(process)
    return int(fields[19]) / TICKS_A_SECOND if fields else 0.0


def _stat(process: int) -> list[bytes]:
    """What follows the process's name, which is any bytes; empty if it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def descendants(root: int) -> dict[int, float]:
    """CPU seconds, with those of reaped children, of each process below `root`, by number.

    A node of a GPU cluster has thousands of processes, and a jail a handful: only the jail's are read, where the
    kernel keeps lists of children. One that is being forked or ends meanwhile may be missing."""
    found: dict[int, float] = {}
    frontier = [root]
    while frontier:
        process = frontier.pop()
        children = _children(process)
        if children is None:
            return _descendants_of_all(root, read_processes())
        for child in children:
            if child not in found and (said := read_process(child)):
                found[child] = said[1]
                frontier.append(child)
    return found


def _children(process: int) -> list[int] | None:
    """Those of all its threads; None where the kernel keeps no lists (CONFIG_PROC_CHILDREN)."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # the process, or a thread, has just ended
        for thread in os.listdir(f"/proc/{process}/task"):
            found += map(int, Path(f"/proc/{process}/task/{thread}/children").read_bytes().split())
    return found if found or LISTS_CHILDREN else None


def _descendants_of_all(root: int, processes: Processes) -> dict[int, float]:
    found: dict[int, float] = {}
    frontier = {root}
    while frontier:
        frontier = {process for process, (parent, _) in processes.items() if parent in frontier} - found.keys()
        found |= {process: processes[process][1] for process in frontier}
    return found


class Use(NamedTuple):
    """What the processes of a jail together have used."""

    memory_bytes: int
    cpu_s: float  # of the running test's processes, with those that they have reaped
    delay_s: float  # that one of these has waited for a core: the most of any that lives


def use_of_jail(root: int, enough_bytes: int, jailed: bool = True) -> Use:
    """Reads what the processes below `root` (nsjail) use. It can take as long as a program likes: not for an event
    loop. `enough_bytes` is what must be exceeded for an exact sum to matter."""
    inside = descendants(root)
    tests = dict(list(inside.items())[jailed:])  # the first is the runner
    memory = _memory_bytes(tests, enough_bytes) + (_socket_bytes(inside) if jailed else 0)
    return Use(memory, sum(tests.values()), max(map(delay_s, tests), default=0.0))


def _memory_bytes(tests: Collection[int], enough_bytes: int) -> int:
    """Resident memory, pages that several processes share counted once where the sum without that is too much, and of
    the kernel's own what no limit of a process bounds, page tables and mappings. Few of them fit into the margin."""
    total = sum(map(_resident_bytes, tests))
    if len(tests) <= UNCOUNTED_PROCESSES:
        return total if len(tests) < 2 or total <= enough_bytes else sum(map(_proportional_bytes, tests))
    kernel = sum(map(_kernel_bytes, tests))
    return (total if total + kernel <= enough_bytes else sum(map(_proportional_bytes, tests))) + kernel


def _resident_bytes(process: int) -> int:
    return _of_a_thread(process, lambda folder: PAGE_BYTES * int((_bytes(f"{folder}/statm").split() or [b"0"] * 2)[1]))


def _proportional_bytes(process: int) -> int:
    """Resident memory, pages shared with others counted in parts."""

    def pss(folder: str) -> int:
        lines = _bytes(f"{folder}/smaps_rollup").splitlines()
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(b"Pss:"))

    return _of_a_thread(process, pss)


def _of_a_thread(process: int, read: Callable[[str], int]) -> int:
    """What the process says, or, if its first thread has exited and so says nothing, another thread of it."""
    if found := read(f"/proc/{process}"):
        return found
    with contextlib.suppress(OSError):
        return max(
            (read(f"/proc/{process}/task/{thread}") for thread in os.listdir(f"/proc/{process}/task")), default=0
        )
    return 0


def _kernel_bytes(process: int) -> int:
    """At most, by page tables and the number of mappings."""
    status = _bytes(f"/proc/{process}/status").partition(b"VmPTE:")[2].split()
    mappings = len(_bytes(f"/proc/{process}/maps", MAPS_BYTES)) // MAPS_LINE_BYTES
    return 1024 * int(status[0]) + mappings * MAPPING_BYTES if status else 0


def _socket_bytes(inside: Collection[int]) -> int:
    """What the sockets of a jail can hold unread at most; the kernel counts those made in its network namespace."""
    for process in inside:
        counted = re.search(rb"sockets: used (\d+)", _bytes(f"/proc/{process}/net/sockstat"))
        if counted:
            return max(0, int(counted[1]) - ORDINARY_SOCKETS) * SOCKET_BYTES
    return 0


def delay_s(process: int) -> float:
    """Seconds that the thread which waited most has waited for a core while it could have run."""
    with contextlib.suppress(OSError):
        return max((thread_delay_s(int(one), process) for one in os.listdir(f"/proc/{process}/task")), default=0.0)
    return 0.0


def thread_delay_s(thread: int, process: int | str = "self") -> float:
    fields = _bytes(f"/proc/{process}/task/{thread}/schedstat").split()
    return int(fields[1]) / 1e9 if len(fields) > 1 else 0.0


def _bytes(path: str, most: int = 1 << 16) -> bytes:
    """Empty if the process has just ended."""
    try:
        with open(path, "rb", buffering=0) as file:
            parts = []
            while most > 0 and (part := file.read(most)):
                parts.append(part)
                most -= len(part)
            return b"".join(parts)
    except OSError:
        return b""


def oom_kills() -> int:
    """How often the kernel has killed for want of memory since this machine was started; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def set_oom_score(score: int) -> None:
    """How soon the kernel ends this process for want of memory, and every one that it starts from now on. Nothing
    happens where it has a higher score and no right to lower it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(score))


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
