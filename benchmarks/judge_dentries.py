"""What a program leaves in the kernel by asking for missing files: how much, who is charged, and who can free it.

    python benchmarks/judge_dentries.py                  # 200,000 names: some 100 MB of kernel memory for a moment
    python benchmarks/judge_dentries.py --limit-mb 64    # the same inside a memory cgroup (v1) of that size; as root

The kernel remembers that a name is missing below the libraries' folder, which is the machine's own, so this memory
outlives the jail. The long name is the worst case: a short one is held inside the record itself."""

import argparse
import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlef_plugin.judge import JudgeConfig, Limits, open_judge

GROUP = Path("/sys/fs/cgroup/memory/rlef-dentries")
SOURCE = """
import os, time
count, length = map(int, input().split())
mark = os.urandom(3).hex()  # so that no two runs ask for the same names
folder = os.path.dirname(os.__file__)
for n in range(count):
    try: os.stat(f"{folder}/{mark}{n:x}".ljust(len(folder) + 1 + length, "x"))
    except OSError: pass
print(time.process_time())"""


def missing_names() -> int:
    return int(Path("/proc/sys/fs/dentry-state").read_text().split()[4])


def kernel_mb(field: str) -> float:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


@contextmanager
def memory_group(limit_mb: int) -> Iterator[None]:
    """Puts this process, and so the judge that it starts, into a memory cgroup of its own."""
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line)
    GROUP.mkdir(exist_ok=True)
    GROUP.joinpath("memory.limit_in_bytes").write_text(str(limit_mb << 20))
    GROUP.joinpath("cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        GROUP.parent.joinpath(own.split(":memory:")[1].lstrip("/"), "cgroup.procs").write_text(str(os.getpid()))
        GROUP.rmdir()


async def measure(count: int, length: int, limit_mb: int) -> None:
    judge = await open_judge(JudgeConfig(workers=1))
    await judge.run("", ["", ""], Limits(2, 256))
    names, slab, other = missing_names(), kernel_mb("SReclaimable"), kernel_mb("SUnreclaim")
    charged_before = int(GROUP.joinpath("memory.kmem.usage_in_bytes").read_text()) if limit_mb else 0
    result = await judge.run(SOURCE, [f"{count} {length}"], Limits(20, 256))
    time.sleep(1)  # counters of the kernel are gathered with a delay
    print(f"names of {length} bytes: {result.tests[0].verdict.label}, {result.tests[0].cpu_s:.2f} s of CPU time")
    print(f"  {missing_names() - names:,} names kept of {count:,} asked for")
    print(
        f"  reclaimable {kernel_mb('SReclaimable') - slab:+.0f} MiB, other {kernel_mb('SUnreclaim') - other:+.0f} MiB"
    )
    if limit_mb:
        charged = int(GROUP.joinpath("memory.kmem.usage_in_bytes").read_text()) - charged_before
        highest = int(GROUP.joinpath("memory.max_usage_in_bytes").read_text())
        print(f"  charged to the cgroup {charged / 2**20:.0f} MiB; all of it at most {highest / 2**20:.0f} MiB")
    await judge.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=200_000, help="number of names that do not exist")
    parser.add_argument(
        "--limit-mb", type=int, default=0, help="size of a memory cgroup around the judge (default: none)"
    )
    arguments = parser.parse_args()
    for length in 12, 250:
        if arguments.limit_mb:
            with memory_group(arguments.limit_mb):
                asyncio.run(measure(arguments.names, length, arguments.limit_mb))
        else:
            asyncio.run(measure(arguments.names, length, 0))


if __name__ == "__main__":
    main()
