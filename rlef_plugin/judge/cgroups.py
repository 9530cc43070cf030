"""The cgroups of one judge's jails: a bound on everything the kernel charges to a jail, equal shares of the CPU, and
counters that no program can slow down. Standard library only.

Each jail has a cgroup of its own, directly below the folder that is ours: the cgroup this process runs in, or the one
that `rlef.judge.cgroup` names. cgroup v1 and v2 will do. Charged, and so bounded (measured by
benchmarks/judge_cgroups.py): anonymous and shared memory, whether a page table holds it or not, memory files, /tmp,
socket buffers, pipes, page tables, mappings, queued signals, processes, and names looked up in vain.

Not promised: records of file locks are not charged, so the policy refuses such locks. File pages that a jail is the
first to read are charged to it, so a peak is no verdict: only a kill at the jail's own limit is one."""

import contextlib
import itertools
import os
import re
import signal
import time
from collections import deque
from collections.abc import Collection, Iterator
from typing import NamedTuple

from rlef_plugin.judge.procfs import started_s

NONE = "none"  # the value of `rlef.judge.cgroup` that turns them off
CONTROLLERS = ("memory", "cpu", "cpuacct", "pids")  # memory is needed; the others are used where we may
MARGIN_BYTES = 64 * 2**20  # for the runner, nsjail, page tables and other memory of the kernel
MAX_PROCESSES = 50  # the sandbox's MAX_PROCESSES, nsjail and the runner
REST_BYTES = 32 * 2**20  # an empty cgroup that is still charged more is not used again
NEAR_BYTES = 2**21  # a peak so near to the limit has met it (v1; its memory.failcnt stays 0 on Linux 6.18)
LEAF = "rlef-own"  # v2: where our own processes go, since a cgroup with processes can give its children no controller
LOOKS, KILL_ROUNDS = 4, 10
NUMBERS = itertools.count(1)  # of the cgroups that this process makes
CLOSE_S, CLOSE_PAUSE_S = 1.0, 0.005
UNBOUNDED = (
    "what the processes of a program take together between two looks of the judge, shared memory that no page table "
    "holds, and memory of the kernel; and a program with 45 processes gets 45 shares of a core"
)
FIX = (
    "With systemd start the command as `systemd-run --user --scope -p Delegate=yes COMMAND`, in Docker use "
    "--privileged --cgroupns=private, in Kubernetes privileged: true, or name a cgroup that was given to this user "
    "as rlef.judge.cgroup."
)


class Unusable(Exception):
    """Why jails can have no cgroups here, as the part of a sentence."""


class Report(NamedTuple):
    """What `rlef doctor` says of it."""

    ok: bool
    detail: str
    fix: str = ""  # one sentence; empty if ok


def bound_bytes(memory_bytes: int, output_bytes: int, scratch_bytes: int) -> int:
    """The limit of a jail's cgroup. Whoever keeps a program's own limits never meets it, so the verdict is the one
    that is given without cgroups: the runner, the kernel's own memory, standard output and error, and /tmp are
    charged too."""
    return memory_bytes + MARGIN_BYTES + 2 * output_bytes + scratch_bytes


def cores(proc: str = "/proc/self") -> int:
    """Cores this process may really use: its affinity mask, or less where a CPU quota of its cgroup or of one above
    it is smaller. A part of a core counts only if there is no whole one: a judge with more workers than cores would
    let programs wait for each other."""
    quotas = [_quota(folder) for folder in _cpu_folders(_own_folders(proc))]
    return max(1, int(min([len(os.sched_getaffinity(0)), *quotas])))


def report(root: str = "") -> Report:
    """Tries it: makes one cgroup and removes it."""
    try:
        cgroups = Cgroups(*_find(root, ()))
        try:
            version = "v2" if cgroups.v2 else "v1"
            missing = [name for name in ("cpu", "pids") if name not in cgroups.parents]
            cgroups.jail().release()
        finally:
            cgroups.close()
    except (Unusable, OSError) as error:
        return Report(False, f"no cgroup for each jail: {error}. Not bounded then: {UNBOUNDED}", FIX)
    lacks = f", but without {' and '.join(missing)}" if missing else ""
    return Report(True, f"{version}, one for each jail below {cgroups.parents['memory']}{lacks}")


def remove_leftovers(root: str = "") -> None:
    """Removes the cgroups of servers that died, for the keeper of one that has. Opening does it as well."""
    with contextlib.suppress(Unusable, OSError):
        _remove_leftovers(set(_find(root, ())[0].values()))


class Cgroups:
    """Those of one judge's server, used again and again: making and removing one costs more than all else here."""

    @classmethod
    def open(cls, root: str = "", own: Collection[int] = ()) -> "Cgroups | None":
        """None where no memory controller may be used; `report` says why.

        `own` are processes of ours besides this one, which may be moved to the leaf `LEAF` of our cgroup."""
        try:
            cgroups = cls(*_find(root, own))
            cgroups.jail().release()  # a kernel may refuse what a folder's rights allow
        except (Unusable, OSError):
            return None
        return cgroups

    def __init__(self, parents: dict[str, str], v2: bool) -> None:
        self.parents, self.v2 = parents, v2
        self.prefix = f"rlef-{_pid_namespace()}-{os.getpid()}-{_started_ms(os.getpid())}"
        self._free: deque[JailCgroup] = deque()
        self._all: set[JailCgroup] = set()
        _remove_leftovers(set(parents.values()))

    def jail(self) -> "JailCgroup":
        """One without a process and nearly without memory. A few of those that were released are looked at."""
        for _ in range(min(LOOKS, len(self._free))):
            cgroup = self._free.popleft()
            if cgroup.empty and cgroup.memory_bytes <= REST_BYTES:
                cgroup.unseal()
                return cgroup
            if not (cgroup.empty and self._remove(cgroup)):
                self._free.append(cgroup)
        number = next(NUMBERS)
        folders = {name: f"{parent}/{self.prefix}-{number}" for name, parent in self.parents.items()}
        cgroup = JailCgroup(folders, self.v2, self._free)
        self._all.add(cgroup)
        return cgroup

    def _remove(self, cgroup: "JailCgroup") -> bool:
        removed = cgroup.remove()
        if removed:
            self._all.discard(cgroup)
        return removed

    def close(self) -> None:
        """Ends what is left in them and removes them, for `CLOSE_S` at most. What then still holds a dying process
        is removed by the next judge."""
        for cgroup in self._all:
            cgroup.kill()
        last = time.monotonic() + CLOSE_S
        while not all([self._remove(cgroup) for cgroup in list(self._all)]) and time.monotonic() < last:
            time.sleep(CLOSE_PAUSE_S)


class JailCgroup:
    """That of one jail. What cannot be read counts as 0; what cannot be written is an OSError."""

    def __init__(self, folders: dict[str, str], v2: bool, free: "deque[JailCgroup]") -> None:
        self._folders, self._v2, self._free = folders, v2, free
        self._unique = list(dict.fromkeys(folders.values()))  # that of memory is the first
        self._memory = folders["memory"]
        self._limit_bytes = float("inf")
        self._old_peak_bytes = 0  # what the peak said at `allow`, where the kernel cannot reset it
        self._sealed = True
        self._opened: dict[str, int] = {}
        try:
            self._make()
        except OSError:
            self.remove()
            raise

    def _make(self) -> None:
        for folder in self._unique:
            os.mkdir(folder)
        self.unseal()
        for name in () if self._v2 else ("memory.swappiness", "memory.oom_control"):
            with contextlib.suppress(OSError):  # v1: both would be those of the cgroup above
                _write(f"{self._memory}/{name}", "0")
        self._before = (*self._ooms(), self._cpu_s())

    def add(self, process: int) -> None:
        """To be called before that process has any memory or child worth counting: neither follows it. Waits for the
        kernel now and then, for 5 to 30 ms."""
        for folder in self._unique:
            self._write(f"{folder}/cgroup.procs", str(process))

    def allow(self, memory_bytes: int) -> None:
        """Limits all its memory, without swap, and starts the peak and the counters anew."""
        if memory_bytes != self._limit_bytes:
            for name, text in self._limits(memory_bytes):
                with contextlib.suppress(FileNotFoundError):  # a kernel without accounting of swap
                    self._write(f"{self._memory}/{name}", text)
            self._limit_bytes = memory_bytes
        self._reset_peak()
        self._before = (*self._ooms(), self._cpu_s())

    def _limits(self, memory_bytes: int) -> list[tuple[str, str]]:
        """v1's limit of memory and swap together must never be below that of memory alone, not even in between."""
        if self._v2:
            return [("memory.max", str(memory_bytes)), ("memory.swap.max", "0")]
        names = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        return [(name, str(memory_bytes)) for name in (names if memory_bytes < self._limit_bytes else names[::-1])]

    def _reset_peak(self) -> None:
        """v2's can be reset from Linux 6.12 on, and then only for reads by the same descriptor."""
        self._old_peak_bytes = 0
        try:
            self._write(self._peak, "0")
        except OSError:
            self._old_peak_bytes = self.peak_bytes

    def _ooms(self) -> tuple[int, int]:
        """How often its own limit was met (v1: whether), and kills for want of memory."""
        if self._v2:
            events = _fields(self._read(f"{self._memory}/memory.events"))
            return events.get("oom", 0), events.get("oom_kill", 0)
        kills = _fields(self._read(f"{self._memory}/memory.oom_control")).get("oom_kill", 0)
        return self.peak_bytes > self._limit_bytes - NEAR_BYTES, kills

    def _cpu_s(self) -> float:
        if self._v2:
            return _fields(self._read(f"{self._memory}/cpu.stat")).get("usage_usec", 0) / 1e6
        used = self._read(f"{self._folders['cpuacct']}/cpuacct.usage") if "cpuacct" in self._folders else ""
        return int(used or 0) / 1e9

    @property
    def _peak(self) -> str:
        return f"{self._memory}/{'memory.peak' if self._v2 else 'memory.max_usage_in_bytes'}"

    @property
    def memory_bytes(self) -> int:
        return int(self._read(f"{self._memory}/{'memory.current' if self._v2 else 'memory.usage_in_bytes'}") or 0)

    @property
    def peak_bytes(self) -> int:
        """Since `allow`; 0 where the kernel cannot tell: without v2's `memory.peak`, or without a way to reset it if
        an earlier peak was higher."""
        peak = int(self._read(self._peak) or 0)
        return peak if peak > self._old_peak_bytes else 0

    @property
    def oom_kills(self) -> int:
        """Since `allow`, and only if the jail met its own limit: where the machine, or a container around the judge,
        runs out of memory, the kernel counts its kills here as well, and they say nothing about the program."""
        met, kills = self._ooms()
        return kills - self._before[1] if met > self._before[0] else 0

    @property
    def cpu_s(self) -> float:
        """Since `allow`."""
        return self._cpu_s() - self._before[2]

    @property
    def empty(self) -> bool:
        """By the number of its threads, zombies included, where it is counted: v1 takes long to list processes."""
        counted = self._read(f"{self._folders['pids']}/pids.current") if "pids" in self._folders else ""
        return int(counted) == 0 if counted else not self._processes()

    def kill(self) -> None:
        """Everything in it. Does not wait for the processes to be gone."""
        if self._v2:
            with contextlib.suppress(OSError):  # before Linux 5.14
                return self._write(f"{self._memory}/cgroup.kill", "1")
        seen: set[int] = set()
        for round_number in range(KILL_ROUNDS):
            new = set(self._processes()) - seen
            if not new:
                return
            if round_number:  # some were just being made
                self._seal()
            self._kill(new)
            seen |= new

    def _seal(self) -> None:
        """Lets no process be made in it."""
        if "pids" in self._folders:
            self._write(f"{self._folders['pids']}/pids.max", "0")
            self._sealed = True

    def _kill(self, processes: set[int]) -> None:
        """A number may pass on to another process at any time: a handle is taken first, and used only if the number
        is still listed then."""
        handles: dict[int, int] = {}
        for process in processes:
            with contextlib.suppress(OSError):  # it has just ended
                handles[process] = os.pidfd_open(process)
        listed = set(self._processes())
        for process, handle in handles.items():
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(handle, signal.SIGKILL) if process in listed else None
            os.close(handle)

    def _processes(self) -> list[int]:
        """By a descriptor of its own: v1 shows one that is kept open the same list for a second."""
        return [int(line) for line in _read(f"{self._memory}/cgroup.procs").split()]

    def unseal(self) -> None:
        if "pids" in self._folders and self._sealed:
            self._write(f"{self._folders['pids']}/pids.max", str(MAX_PROCESSES))
            self._sealed = False

    def release(self) -> None:
        """Gives it back. It is used again once it is empty."""
        self._free.append(self)

    def remove(self) -> bool:
        """Whether it is gone; not while it holds a process."""
        if not all([_removed(folder) for folder in self._unique]):
            return False
        while self._opened:
            os.close(self._opened.popitem()[1])
        return True

    def _read(self, path: str) -> str:
        """Empty if it cannot be read."""
        try:
            return os.pread(self._descriptor(path), 65536, 0).decode()
        except OSError:
            return ""

    def _write(self, path: str, text: str) -> None:
        os.pwrite(self._descriptor(path), text.encode(), 0)

    def _descriptor(self, path: str) -> int:
        """Kept open, some ten a jail: opening a file of a cgroup takes most of the time of reading it."""
        if path not in self._opened:
            opened = _open(path)
            if self._opened.setdefault(path, opened) != opened:  # another thread was faster
                os.close(opened)
        return self._opened[path]


def _find(root: str, own: Collection[int]) -> tuple[dict[str, str], bool]:
    """The folders below which jails get their cgroups, by controller, and whether they are v2."""
    if root == NONE:
        raise Unusable("rlef.judge.cgroup is none")
    ours = {name: folder for name, (folder, _) in _own_folders().items()}
    if root:
        ours.pop("memory", None)
        if os.path.exists(f"{root}/cgroup.controllers"):
            ours[""] = root.rstrip("/")
        elif os.path.exists(f"{root}/memory.limit_in_bytes"):
            ours["memory"] = root.rstrip("/")
        else:
            raise Unusable(f"rlef.judge.cgroup is {root}, which is no cgroup with a memory controller")
    if "memory" in ours:
        return _find_v1(ours), False
    if "" in ours:
        return _find_v2(ours[""], own), True
    raise Unusable("no cgroup of this process can be seen in any mounted file system")


def _find_v1(ours: dict[str, str]) -> dict[str, str]:
    _check_writable(ours["memory"])
    return {name: ours[name] for name in CONTROLLERS if name in ours and os.access(ours[name], os.W_OK)}


def _find_v2(folder: str, own: Collection[int]) -> dict[str, str]:
    if os.path.basename(folder) == LEAF:  # this judge, or another one of the same command, has put us there
        folder = os.path.dirname(folder)
    offered = _read(f"{folder}/cgroup.controllers").split()
    if "memory" not in offered:
        raise Unusable(f"{folder} has no memory controller, only: {' '.join(offered) or 'none'}")
    _check_writable(folder)
    used = [name for name in CONTROLLERS if name in offered]
    if not set(used) <= set(_read(f"{folder}/cgroup.subtree_control").split()):
        _enable(folder, used, own)
    with contextlib.suppress(OSError):  # or the kernel ends all of us, not one jail, where all jails together are
        _write(f"{folder}/memory.oom.group", "0")  # too large for our own cgroup
    return dict.fromkeys(used, folder)


def _enable(folder: str, controllers: list[str], own: Collection[int]) -> None:
    """Lets children of `folder` have these controllers. Unless it is the root of all cgroups, it must hold no process
    then: only our own are moved."""
    inside = [int(line) for line in _read(f"{folder}/cgroup.procs").split()]
    others = [process for process in inside if process not in {os.getpid(), *own}]
    change = " ".join(f"+{name}" for name in controllers)
    if os.path.exists(f"{folder}/cgroup.type"):  # not at the root
        if others:
            raise Unusable(f"{folder} holds {len(others)} other processes, number {others[0]} among them")
        os.makedirs(f"{folder}/{LEAF}", exist_ok=True)
        for process in inside:
            _write(f"{folder}/{LEAF}/cgroup.procs", str(process))
    _write(f"{folder}/cgroup.subtree_control", change)
    with contextlib.suppress(OSError):  # ours weigh as much as a jail on each core
        _write(f"{folder}/{LEAF}/cpu.weight", str(min(100 * cores(), 10000)))


def _check_writable(folder: str) -> None:
    if not os.access(folder, os.W_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        raise Unusable(
            f"{folder} {'is mounted read-only' if read_only else f'may not be changed by user {os.getuid()}'}"
        )


def _own_folders(proc: str = "/proc/self") -> dict[str, tuple[str, str]]:
    """The cgroup of this process and the mount point above it, by controller; v2's is that of "".

    A mount that does not show this process's cgroup, or shows it from outside of its cgroup namespace, is left out:
    what would be found there is not ours."""
    lines = _read(f"{proc}/cgroup").splitlines()
    paths = {name: path for line in lines for _, names, path in [line.split(":", 2)] for name in names.split(",")}
    found = {}
    for line in _read(f"{proc}/mountinfo").splitlines():
        where, _, what = line.partition(" - ")
        top, mount = where.split()[3:5]
        kind, _, options = what.split(" ", 2)
        for name in {"cgroup": options.split(","), "cgroup2": [""]}.get(kind, []):
            path = paths.get(name, "/..").rstrip("/")
            if f"{path}/".startswith(f"{top.rstrip('/')}/") and "/.." not in path:
                found[name] = mount + path[len(top.rstrip("/")) :], mount
    return found


def _cpu_folders(ours: dict[str, tuple[str, str]]) -> Iterator[str]:
    """All that may have a CPU quota for this process: its own cgroups and those above them that it can see."""
    for folder, mount in (ours[name] for name in ("cpu", "") if name in ours):
        while len(folder) >= len(mount):
            yield folder
            folder = os.path.dirname(folder)


def _quota(folder: str) -> float:
    """In cores."""
    quota, _, period = _read(f"{folder}/cpu.max").partition(" ")  # v2; then v1
    quota, period = quota or _read(f"{folder}/cpu.cfs_quota_us"), period or _read(f"{folder}/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.strip().isdigit() and int(quota) else float("inf")


def _remove_leftovers(folders: set[str]) -> None:
    """Those of servers that ended without removing theirs. A server of another PID namespace may live."""
    for folder in folders:
        for name in os.listdir(folder):
            match = re.fullmatch(rf"rlef-{_pid_namespace()}-(\d+)-(\d+)-\d+", name)
            if match and _started_ms(int(match[1])) != int(match[2]):
                _removed(f"{folder}/{name}")


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:  # a process is in it
        return False
    return True


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _started_ms(process: int) -> int:
    return round(1000 * started_s(process))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _read(path: str) -> str:
    """Empty if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return b"".join(iter(lambda: os.read(descriptor, 65536), b"")).decode()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    """In the first way that the file allows."""
    for way in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(PermissionError):
            return os.open(path, way)
    return os.open(path, os.O_WRONLY)


def _fields(text: str) -> dict[str, int]:
    """Of lines like `oom_kill 3`."""
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}
