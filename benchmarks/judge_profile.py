"""Where the time of one more test goes: python benchmarks/judge_profile.py (needs `perf` and a C compiler, and root)

Samples the whole machine while one program is judged on 1,500 tests, again and again, and sorts the samples of jailed
interpreters by what the kernel was doing; counts page faults of the runner and of its children the same way; and
measures what a fork costs by the page (`fork_costs.c`), interleaved, medians. Nothing else should run meanwhile.
Sampling itself slows a test by a tenth, so shares are meant, not times."""

import asyncio
import os
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

from machine import machine

from rlef_plugin.judge import Judge, JudgeConfig, Limits, open_judge
from rlef_plugin.problems import TestCase

PROGRAM = "a, b = map(int, input().split())\nprint(a + b)\n"
TESTS, ROUNDS, FORK_ROUNDS = 1500, 4, 7
RESULTS = Path(__file__).with_name("results") / "judge_profile.md"
PARTS = (  # a function that is on the stack, and what that means; the first that fits
    ("asm_exc_page_fault", "page faults"),
    ("__x64_sys_exit_group", "exit of the child"),
    ("__do_sys_clone", "fork"),
    ("do_syscall_64", "other system calls"),
)
FORKS = {  # arguments of fork_costs
    "no memory": (0, 0, 0, 0),
    "2,560 pages": (2560, 0, 0, 0),
    "2,560 pages, 128 written to": (2560, 128, 0, 0),
    "2,560 pages, 128 written to, asked for at once": (2560, 128, 0, 1),
    "5 huge pages": (2560, 0, 1, 0),
    "5 huge pages, 128 small ones written to": (2560, 128, 1, 0),
}


async def judge_often(judge: Judge) -> float:
    """Wall milliseconds a test."""
    tests = [TestCase(f"{i} {i + 1}\n", f"{2 * i + 1}\n") for i in range(TESTS)]
    started = time.perf_counter()
    for _ in range(ROUNDS):
        result = await judge.judge(PROGRAM, tests, Limits(cpu_s=10))
        assert result.accepted
    return 1000 * (time.perf_counter() - started) / (ROUNDS * TESTS)


async def recorded(event: tuple[str, ...], folder: Path) -> tuple[str, float]:
    """`perf script`'s text of jailed interpreters, and milliseconds a test."""
    judge = await open_judge(JudgeConfig(workers=1))
    await judge_often(judge)
    data = str(folder / "perf.data")
    command = ("perf", "record", "-a", "-g", *event, "-o", data, "--", "sleep", "600")
    recorder = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    try:
        test_ms = await judge_often(judge)
    finally:
        subprocess.run(["pkill", "--parent", str(recorder.pid), "sleep"], check=False)
        await recorder.wait()
        await judge.close()
    show = ("perf", "script", "-i", data, "--comm", os.path.basename(os.path.realpath("/proc/self/exe")), "-F")
    text = subprocess.run([*show, "pid,ip,sym,dso"], capture_output=True, text=True, check=True).stdout
    return text, test_ms


def stacks(text: str) -> list[tuple[int, list[str]]]:
    """(process, lines of the stack, innermost first)."""
    blocks = [block.strip().splitlines() for block in text.split("\n\n") if block.strip()]
    return [(int(head), lines) for head, *lines in blocks if lines]


def part_of(stack: list[str]) -> str:
    for function, part in PARTS:
        if any(f" {function}" in line for line in stack):
            return part
    return "the kernel's rest" if "[kernel" in stack[0] else "CPython and libc"


def fork_costs(folder: Path) -> dict[str, float]:
    """Microseconds, medians."""
    program = folder / "fork_costs"
    source = Path(__file__).with_name("fork_costs.c")
    subprocess.run(["cc", "-O2", "-static", "-o", str(program), str(source)], check=True)
    found: dict[str, list[float]] = {name: [] for name in FORKS}
    for _ in range(FORK_ROUNDS):
        for name, arguments in FORKS.items():
            found[name].append(float(subprocess.check_output([program, *map(str, arguments)])))
    return {name: median(times) for name, times in found.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, test_ms = asyncio.run(recorded(("-F", "2000"), folder))
        samples = stacks(text)
        shares = Counter(part_of(stack) for _, stack in samples)
        text, _ = asyncio.run(recorded(("-e", "page-faults", "-c", "1"), folder))
        faults = Counter(process for process, _ in stacks(text))
        forks = fork_costs(folder)
    runners = [count for _, count in faults.most_common(ROUNDS)]  # any other process lives for one test
    children = [count for _, count in faults.most_common()[ROUNDS:]]
    lines = [
        f"`python benchmarks/judge_profile.py`, {machine()}",
        "",
        f"{len(samples)} samples of jailed interpreters, {test_ms:.2f} ms a test meanwhile.",
        "",
        "| part | share |",
        "|---|---|",
        *(f"| {part} | {count / len(samples):.0%} |" for part, count in shares.most_common()),
        "",
        f"Page faults a test: {median(children):.0f} in the child, {sum(runners) / len(children):.0f} in the runner.",
        "",
        "| one fork, exit and wait of a C program with | us |",
        "|---|---|",
        *(f"| {name} | {cost:.0f} |" for name, cost in forks.items()),
    ]
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
