"""What a cgroup a jail costs, and what the kernel charges to it: python benchmarks/judge_cgroups.py (as root, or where
this user may make cgroups)

A jail is a plain process that waits, so that only the cgroup's own steps are counted: those of `ROUNDS` jails, with a
pause between them, because only the first of several moves in a row waits for the kernel. Then programs that take one
kind of memory each, and a crowd of processes beside one on the same core."""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine

from rlef_plugin.judge.cgroups import Cgroups, JailCgroup

ROUNDS, PAUSE_S = 200, 0.02
CROWD, CROWD_CPU_S = 45, 3.0
MIB = 2**20
RESULTS = Path(__file__).with_name("results") / "judge_cgroups.md"
KINDS = {
    "private memory, 32 MiB": "m = mmap.mmap(-1, 32 << 20, 0x22)\nfor i in range(0, 32 << 20, 4096): m[i] = 1",
    "shared memory, 32 MiB, in no page table": (
        "m = mmap.mmap(-1, 32 << 20)\nfor i in range(0, 32 << 20, 4096): m[i] = 1\nm.madvise(mmap.MADV_DONTNEED)"
    ),
    "memory file, 32 MiB": "os.write(os.memfd_create('f'), bytes(32 << 20))",
    "file of a tmpfs, 32 MiB": "os.write(os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR), bytes(32 << 20))",
    "50 full socket pairs": "for a, b in [socket.socketpair() for _ in range(50)]: fill(a.detach()), fill(b.detach())",
    "100 full pipes": "for _ in range(100): fill(os.pipe()[1])",
    "page tables for 4 GiB": "m = mmap.mmap(-1, 4 << 30, 0x4022)\nfor i in range(0, 4 << 30, 2 << 20): m[i]",
    "20,000 mappings": (
        "f = ctypes.CDLL(None).mmap\n"
        "for i in range(20000): f(None, ctypes.c_size_t(4096), i % 2, 0x22, -1, ctypes.c_long(0))"
    ),
    "20,000 queued signals": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [40])\nf = ctypes.CDLL(None).sigqueue\n"
        "for _ in range(20000): f(os.getpid(), 40, None)"
    ),
    "20,000 names looked up in vain": "for i in range(20000): os.path.exists(f'/usr/lib/{os.getpid()}-{i}')",
    "20 processes": "for _ in range(20):\n    if not os.fork(): signal.pause()",
    "4,000 records of file locks": (
        "f = os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR)\n"
        "for i in range(4000): fcntl.lockf(f, fcntl.LOCK_EX, 1, 2 * i)"
    ),
}
FRAME = """
import ctypes, fcntl, mmap, os, signal, socket, sys
def fill(end):
    os.set_blocking(end, False)
    try:
        while os.write(end, bytes(65536)): pass
    except BlockingIOError: pass
print(flush=True)
sys.stdin.readline()
exec(sys.argv[1])
print(flush=True)
sys.stdin.readline()
"""


def charged_bytes(cgroups: Cgroups, program: str) -> int:
    cgroup = cgroups.jail()
    command = [sys.executable, "-S", "-c", "input()\n" + FRAME, program]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin and child.stdout
    cgroup.add(child.pid)
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    before = cgroup.memory_bytes
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    taken = cgroup.memory_bytes - before
    cgroup.kill()
    child.communicate()
    cgroup.release()
    return taken


def steps(cgroups: Cgroups, again: bool) -> dict[str, tuple[float, float]]:
    """Wall and CPU milliseconds of each step of one jail: with a cgroup that is used again, or one made for it."""
    found: dict[str, tuple[float, float]] = {}

    def step(name: str, work: Any, *arguments: Any) -> Any:
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        value = work(*arguments)
        found[name] = (time.perf_counter_ns() - wall) / 1e6, (time.process_time_ns() - cpu) / 1e6
        return value

    cgroup: JailCgroup = step("take" if again else "make", cgroups.jail)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    step("add", cgroup.add, child.pid)
    step("allow", cgroup.allow, 512 * MIB)
    step("read", lambda: (cgroup.memory_bytes, cgroup.oom_kills, cgroup.peak_bytes, cgroup.cpu_s))
    step("kill", cgroup.kill)
    child.communicate()
    step("release" if again else "remove", cgroup.release if again else cgroup.remove)
    return found


def costs(cgroups: Cgroups, again: bool) -> list[str]:
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(steps(cgroups, again))
        time.sleep(PAUSE_S)
    rows = []
    for name in rounds[0]:
        walls = [taken[name][0] for taken in rounds]
        cpu = median(taken[name][1] for taken in rounds)
        rows.append(f"| {name} | {cpu:.3f} | {median(walls):.3f} | {sorted(walls)[-ROUNDS // 100]:.1f} |")
    total = median(sum(cpu for _, cpu in taken.values()) for taken in rounds)
    return [*rows, f"| all | {total:.3f} | {median(sum(w for w, _ in taken.values()) for taken in rounds):.3f} | |"]


def shares(cgroups: Cgroups) -> float:
    """CPU time of a crowd for each second of one process on the same core."""
    core = min(os.sched_getaffinity(0))
    jails = [cgroups.jail(), cgroups.jail()]
    loop = f"import os; input(); os.sched_setaffinity(0, [{core}])\n"
    forks = f"for _ in range({CROWD - 1}):\n    if not os.fork(): break\n"
    children = []
    for jail, program in zip(jails, (forks, ""), strict=True):
        command = [sys.executable, "-S", "-c", f"{loop}{program}while True: pass"]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        jail.add(children[-1].pid)
        jail.allow(512 * MIB)
    for child in children:
        child.stdin.write(b"\n")
        child.stdin.flush()
    while sum(jail.cpu_s for jail in jails) < CROWD_CPU_S:
        time.sleep(0.01)
    crowd_s, one_s = (jail.cpu_s for jail in jails)
    for jail, child in zip(jails, children, strict=True):
        jail.kill()
        child.communicate()
        jail.release()
    return crowd_s / one_s


def main() -> None:
    cgroups = Cgroups.open()
    if cgroups is None:
        sys.exit("No cgroup can be made here: `rlef doctor` says why.")
    try:
        charged = {kind: charged_bytes(cgroups, program) / MIB for kind, program in KINDS.items()}
        head = ["| step | CPU ms, median | wall ms, median | wall ms, 99% |", "|---|---|---|---|"]
        lines = [
            f"`python benchmarks/judge_cgroups.py`, cgroup {'v2' if cgroups.v2 else 'v1'}, {machine()}",
            "",
            f"Steps of one jail, {ROUNDS} jails, {PAUSE_S} s apart, with a cgroup that is used again:",
            *("", *head, *costs(cgroups, again=True), ""),
            "With a cgroup made for it and removed:",
            *("", *head, *costs(cgroups, again=False), ""),
            f"{CROWD} processes get {shares(cgroups):.2f} times the CPU time of one in another jail, on one core.",
            "",
            "| kind | MiB charged |",
            "|---|---|",
            *(f"| {kind} | {mib:.1f} |" for kind, mib in charged.items()),
        ]
    finally:
        cgroups.close()
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
