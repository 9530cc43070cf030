"""The judge for a long time on a loaded machine: is every verdict right and the same, and does nothing stay behind?

    python -m benchmarks.judge_soak                       # 10,000 programs, 1,000 repetitions: minutes on 2 cores
    python -m benchmarks.judge_soak --programs 400 --repetitions 40

1. `--oversubscription` times as many programs at once as there are cores. Most use half of their CPU limit by their
   own clock, and none of those may time out; every fiftieth loops for ever, and all of those must. Among them, every
   hundredth is a crowd of 46 processes that use the CPU up to a limit of a second, and every hundredth a greedy one,
   whose processes together take four times its memory.
2. One program whose tests end in six different ways, again and again under the same load: every result must be equal
   in its verdicts, outputs and errors.
3. What is counted before and after: processes, zombies, mounts, cgroups, descriptors, files, shared memory.
4. All the time: how long the event loop of the server was busy, and how much memory the machine lost.

Measures no speed: machines that run this are loaded on purpose."""

import argparse
import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.judge_attacks import LAG_S, MemoryProbe, jails_have_cgroups
from benchmarks.loop_lag import probed
from rlef_plugin.judge import Judge, JudgeConfig, Limits, ProgramResult, Verdict, open_judge

CPU_LIMIT_S = 0.04
HALF = f"""
import time
n = int(input())
while time.process_time() < {CPU_LIMIT_S / 2}: pass
print(n + 1)"""
LOOP = "while True: pass"
CROWD = """
import os
for _ in range(45):
    if os.fork() == 0: break
while True: pass"""
GREEDY = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        taken = b"x" * (32 << 20)
        time.sleep(60)
time.sleep(60)"""
BAD = {  # by the last two digits of a program's number: what it is, its CPU limit, its verdict
    24: ("crowd", CROWD, 1.0, "timeout"),
    74: ("greedy", GREEDY, 1.0, "out of memory"),
    49: ("loop", LOOP, CPU_LIMIT_S, "timeout"),
    99: ("loop", LOOP, CPU_LIMIT_S, "timeout"),
}
GREEDY_MB = 64
HELD_MB = 2048  # most memory that the machine may lose meanwhile
SIX_WAYS = """
way = input()
if way == "wrong": print("something else")
elif way == "exception": {}[way]
elif way == "timeout":
    while True: pass
elif way == "memory": x = bytearray(1 << 30)
elif way == "output":
    while True: print("x" * 1000)
else: print(sorted({way, "a", "b"}))"""
WAYS = {
    "right": "accepted",
    "wrong": "wrong output",
    "exception": "exception",
    "timeout": "timeout",
    "memory": "out of memory",
    "output": "output limit",
}


@dataclass(frozen=True)
class Case:
    input: str
    output: str


async def half_of_the_limit(judge: Judge, programs: int, tests: int) -> Counter[tuple[str, str]]:
    """How many tests of each (what the program is, verdict)."""

    async def one(number: int) -> list[tuple[str, str]]:
        kind, source, cpu_s, _ = BAD.get(number % 100, ("half", HALF, CPU_LIMIT_S, "accepted"))
        cases = [Case(f"{number + i}", f"{number + i + 1}") for i in range(tests if kind == "half" else 1)]
        limits = Limits(cpu_s=cpu_s, memory_mb=GREEDY_MB if kind == "greedy" else 256)
        result = await judge.judge(source, cases, limits)
        return [(kind, test.verdict.label) for test in result.tests]

    answers = await asyncio.gather(*map(one, range(programs)))
    return Counter(answer for program in answers for answer in program)


def expected_verdicts(programs: int, tests: int) -> Counter[tuple[str, str]]:
    bad = [BAD[number % 100] for number in range(programs) if number % 100 in BAD]
    expected = Counter((kind, verdict) for kind, _, _, verdict in bad)
    return expected + Counter({("half", "accepted"): (programs - len(bad)) * tests})


async def repeated(judge: Judge, repetitions: int) -> Counter[tuple]:
    """How often each result was given; one entry if all are equal."""
    limits = Limits(cpu_s=5 * CPU_LIMIT_S, memory_mb=32, output_bytes=100_000)  # enough to fill more than the memory
    cases = [Case(way, "['a', 'b', 'right']") for way in WAYS]
    results = await asyncio.gather(*(judge.judge(SIX_WAYS, cases, limits) for _ in range(repetitions)))
    return Counter(map(essence, results))


def essence(result: ProgramResult) -> tuple:
    """Without what the judge says of a test that took too much memory: it names what was measured, and who saw it."""
    return tuple(
        (test.verdict.label, test.stdout, "" if test.verdict is Verdict.OUT_OF_MEMORY else test.error)
        for test in result.tests
    )


def differences(results: Counter[tuple]) -> list[str]:
    """What the rarer results have that the commonest one has not, a line each."""
    (usual, _), *others = results.most_common()
    return [
        f"- {number} time(s), test {way!r}: {str(found)[:300]} and not {str(expected)[:300]}"
        for result, number in others
        for way, found, expected in zip(WAYS, result, usual, strict=True)
        if found != expected
    ]


def belongings() -> dict[str, int]:
    """What a judge could leave behind, of this process, its children and this machine."""
    family = processes_below(os.getpid())
    folders = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]
    return {
        "processes": len(family),
        "zombies": sum(state == "Z" for state in family.values()),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups of jails": sum(1 for _ in Path("/sys/fs/cgroup").rglob("NSJAIL*")),
        "descriptors of the caller": len(os.listdir("/proc/self/fd")),
        "descriptors of its children": sum(open_descriptors(pid) for pid in family),
        "files of jails": sum(1 for folder in folders for path in folder.iterdir() if path.name.startswith("rlef-")),
        "shared memory segments": len(Path("/proc/sysvipc/shm").read_text().splitlines()) - 1,
    }


def processes_below(root: int) -> dict[int, str]:
    """State by number."""
    parents, states = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)], states[int(entry.name)] = int(fields[1]), fields[0]
    found: set[int] = set()
    frontier = {root}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found |= frontier
    return {pid: states[pid] for pid in found}


def open_descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


async def settled(workers: int, judge: Judge) -> dict[str, int]:
    """The belongings once every jail of the pool has been replaced and is ready; the least of a few looks, because a
    jail that starts or ends at that moment has more processes and descriptors than one that waits."""
    await asyncio.gather(*(judge.judge("print(1)", [Case("", "1")], Limits()) for _ in range(2 * workers)))
    looks = []
    for _ in range(20):
        await asyncio.sleep(0.1)
        looks.append(belongings())
    return {name: min(look[name] for look in looks) for name in looks[0]}


async def soak(
    programs: int, tests: int, repetitions: int, oversubscription: int, cgroup: str = ""
) -> tuple[str, bool]:
    """The report, and whether all is as it should be."""
    workers = oversubscription * len(os.sched_getaffinity(0))
    bare = belongings()
    with probed() as lag:
        judge = await open_judge(JudgeConfig(workers=workers, cgroup=cgroup))
    try:
        mode = "a cgroup for each jail" if jails_have_cgroups() else "no cgroups"
        before = await settled(workers, judge)
        with MemoryProbe() as memory:
            started = time.monotonic()
            halves = await half_of_the_limit(judge, programs, tests)
            halves_s = time.monotonic() - started
            same = await repeated(judge, repetitions)
        lag_s = lag.worst_s(started)
        after = await settled(workers, judge)
    finally:
        await judge.close()
        lag.close()
    closed = belongings()
    verdicts = {tuple(verdict for verdict, _, _ in one) for one in same}
    fine = halves == expected_verdicts(programs, tests) and lag_s <= LAG_S and memory.held_mb <= HELD_MB
    fine = fine and len(same) == 1 and verdicts == {tuple(WAYS.values())} and before == after and bare == closed
    lines = [
        f"{workers} programs at once on {len(os.sched_getaffinity(0))} cores, CPU limit {CPU_LIMIT_S} s, "
        f"{mode}, load average {os.getloadavg()[0]:.0f}.",
        "",
        f"| {programs:,} programs in {halves_s:.0f} s | verdict | tests |",
        "|---|---|---|",
        *(f"| {kind} | {verdict} | {number:,} |" for (kind, verdict), number in sorted(halves.items())),
        "",
        f"{repetitions:,} repetitions of one program with six kinds of ends: {len(same)} distinct result(s), "
        f"verdicts {', '.join(next(iter(verdicts)))}.",
        *differences(same),
        "",
        f"The server's event loop was busy for {lag_s * 1000:.0f} ms at most (allowed: {LAG_S * 1000:.0f} ms); the "
        f"machine lost {memory.held_mb:.0f} MiB of memory at most (allowed: {HELD_MB} MiB).",
        "",
        "| left behind | before opening | open, before | open, after | closed |",
        "|---|---|---|---|---|",
        *(f"| {name} | {bare[name]} | {before[name]} | {after[name]} | {closed[name]} |" for name in bare),
    ]
    return "\n".join(lines), fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--tests", type=int, default=1, help="of each program that does not loop")
    parser.add_argument("--repetitions", type=int, default=1_000)
    parser.add_argument("--oversubscription", type=int, default=8)
    parser.add_argument("--out", type=Path, help="also write the report to this Markdown file")
    parser.add_argument("--cgroup", default="", help="as rlef.judge.cgroup; none = without cgroups")
    options = parser.parse_args()
    numbers = (options.programs, options.tests, options.repetitions, options.oversubscription)
    report, fine = asyncio.run(soak(*numbers, options.cgroup))
    report += f"\n\n{'All as it should be.' if fine else 'NOT as it should be.'}"
    print(report)
    if options.out:
        options.out.write_text(f"# The judge under load\n\nWritten by `benchmarks/judge_soak.py`.\n\n{report}\n")
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
