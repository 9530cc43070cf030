"""How fast a problem store is built, opened and read, and how much memory it takes.

    python benchmarks/bench_store.py                      # 1/20 of full size, about 0.7 GB of disk
    python benchmarks/bench_store.py --problems 13000     # full size: 13,000 x 100 x 10 kB, 13 GB of disk

Writes rows as parquet files in the hub's layout to a temporary folder (or --folder), builds a store of them, measures,
removes all, and prints JSON lines. The texts all differ and are of full length, but are cut from the same megabyte, so
that the parquet files are small: decompressing them is measured, reading 13 GB from a disk is not. The store is not
compressed.

Each number comes from a process of its own, so that memory is that of the thing measured. Targets, at full size on 2
cores: build < 600 s and < 2 GB; opening < 50 ms; one problem < 5 ms; processes share the mapped pages. "Cold" means
that the file's pages were dropped from the page cache first, as far as the system allows that. "killed_with" is a
build that is killed half-way and run again.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlef_plugin.problems import BuildReport, ProblemStore, build_store, open_source

KB = 1000
SHARD_ROWS = 350  # as on the hub: some 40 files
GROUP_ROWS = 50
READERS = 4
TOUCHED = 500  # problems that each of them reads


def rows(first: int, problems: int, tests: int, test_bytes: int) -> Iterator[dict[str, Any]]:
    """Rows of equal size; every text differs."""
    filler = random.Random(0).randbytes(KB * KB // 2).hex()
    half = test_bytes // 2
    for number in range(first, first + problems):
        cuts = random.Random(number).choices(range(len(filler) - half), k=tests)
        texts = [f"{number} {i} {filler[cut : cut + half]}"[:half] for i, cut in enumerate(cuts)]
        public, private = {"input": texts[:1], "output": texts[:1]}, {"input": texts[1:], "output": texts[1:]}
        programs = {"language": [3, 3], "solution": [f"print({number})", "pass"]}
        yield {
            "name": f"problem {number}",
            "description": filler[:2000],
            "public_tests": public,
            "private_tests": private,
            "solutions": programs,
        }


def measure_source(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    (folder / "rows").mkdir()
    starts = range(0, options.problems, SHARD_ROWS)
    for shard, first in enumerate(starts):
        count = min(SHARD_ROWS, options.problems - first)
        parts = rows(first, count, options.tests, options.test_bytes)
        file = folder / "rows" / f"train-{shard:05d}-of-{len(starts):05d}.parquet"
        writer = None
        for _ in range(0, count, GROUP_ROWS):
            group = pa.Table.from_pylist([row for _, row in zip(range(GROUP_ROWS), parts, strict=False)])
            writer = writer or pq.ParquetWriter(file, group.schema, compression="zstd")
            writer.write_table(group)
        if writer:
            writer.close()
    size = sum(file.stat().st_size for file in (folder / "rows").iterdir())
    return {"parquet_mb": size // 2**20, "text_gb": options.problems * options.tests * options.test_bytes / 1e9}


def measure_build(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    start, cpu = time.perf_counter(), time.process_time()
    build_store(open_source([folder / "rows"]), folder / "store")
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    size = sum(file.stat().st_size for file in (folder / "store").rglob("*") if file.is_file())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "build_s": round(seconds, 1),
        "cpu_s": round(cpu_s, 1),
        "store_mb": size // 2**20,
        "peak_mb": round(peak_mb),
    }


def measure_killed(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Of the first two shards only: at most 700 problems."""
    part = folder / "part"
    part.mkdir()
    for file in sorted((folder / "rows").iterdir())[:2]:
        os.link(file, part / file.name)
    source = open_source([part])
    build_store(source, folder / "whole")
    child = multiprocessing.get_context("spawn").Process(target=build_until, args=(folder, (source.total or 0) // 2))
    child.start()
    child.join()
    start = time.perf_counter()
    report = build_store(source, folder / "again")
    seconds = time.perf_counter() - start
    same = all(
        (folder / "again" / name).read_bytes() == (folder / "whole" / name).read_bytes()
        for name in ("manifest.json", "index.arrow", "problems.arrow", "solutions.arrow")
    )
    for name in ("again", "whole"):
        shutil.rmtree(folder / name)
    return {"killed_with": child.exitcode, "resumed": report.resumed, "rest_s": round(seconds, 1), "same": same}


def build_until(folder: Path, rows: int) -> None:
    def on_row(report: BuildReport) -> None:
        if report.read == rows:
            os.kill(os.getpid(), signal.SIGKILL)

    build_store(open_source([folder / "part"]), folder / "again", on_row=on_row)


def measure_open(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    path = folder / "store"
    drop_pages(path)
    start = time.perf_counter()
    ProblemStore(path)
    cold_ms = 1000 * (time.perf_counter() - start)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        ProblemStore(path)
        times.append(1000 * (time.perf_counter() - start))
    return {"open_cold_ms": round(cold_ms, 1), "open_warm_ms": round(statistics.median(times), 1)}


def measure_fetch(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    path, result = folder / "store", dict[str, Any]()
    for kind in ("cold", "warm"):
        store = ProblemStore(path)
        ids = random.Random(1).choices(store.ids(), k=200)
        if kind == "cold":
            drop_pages(path)
        else:
            for id_ in ids:
                store[id_]
        times = []
        for id_ in ids:
            start = time.perf_counter()
            store[id_]
            times.append(1000 * (time.perf_counter() - start))
        result[f"fetch_{kind}_ms"] = round(statistics.median(times), 2)
        result[f"fetch_{kind}_p95_ms"] = round(sorted(times)[189], 2)
    return result


def measure_sharing(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What the mapped store costs, while several processes have read the same problems."""
    context = multiprocessing.get_context("spawn")
    together, results = context.Barrier(READERS), context.SimpleQueue()
    readers = [context.Process(target=touch, args=(folder, together, results)) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    found = [results.get() for _ in readers]
    for reader in readers:
        reader.join()
    return {
        "readers": READERS,
        "mapped_mb_each": round(statistics.mean(one["Rss:"] for one in found) / 1024),
        "pss_mb_all": round(sum(one["Pss:"] for one in found) / 1024),
        "private_mb_all": round(sum(one["Private_Dirty:"] for one in found) / 1024),
    }


def touch(folder: Path, together: Any, results: Any) -> None:
    store = ProblemStore.open(folder / "store")
    for id_ in store.ids()[:TOUCHED]:
        store[id_]
    together.wait()
    found, mine = dict.fromkeys(("Rss:", "Pss:", "Private_Dirty:"), 0), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            mine = line.endswith("problems.arrow")
        elif mine and first in found:
            found[first] += int(line.split()[1])  # in KiB
    together.wait()
    results.put(found)


def drop_pages(path: Path) -> None:
    for file in path.rglob("*.arrow"):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def alone(measure: Callable[..., Any], folder: Path, options: argparse.Namespace, results: Any) -> None:
    results.put(measure(folder, options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=650)
    parser.add_argument("--tests", type=int, default=100)
    parser.add_argument("--test-bytes", type=int, default=10 * KB, help="input and output of a test together")
    parser.add_argument("--folder", type=Path, help="where the store is made, if not in the system's")
    options = parser.parse_args()
    needed = 1.2 * options.problems * options.tests * options.test_bytes
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-store-", dir=options.folder))
    context = multiprocessing.get_context("spawn")
    try:
        if shutil.disk_usage(folder).free < needed:
            sys.exit(f"{folder} has less than {needed / 1e9:.1f} GB free: choose another --folder or fewer --problems")
        steps = (measure_source, measure_build, measure_open, measure_fetch, measure_sharing, measure_killed)
        for measure in steps:
            results = context.SimpleQueue()
            process = context.Process(target=alone, args=(measure, folder, options, results))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(f"{measure.__name__} failed with exit code {process.exitcode}")
            print(json.dumps({"problems": options.problems, "tests": options.tests} | results.get()), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
