"""How fast a problem store is built, opened and read, and how much memory it takes.

    python benchmarks/bench_store.py                      # 1/20 of full size, about 0.7 GB of disk
    python benchmarks/bench_store.py --problems 13000     # full size: 13,000 x 100 x 10 kB, 13 GB of disk

Writes a synthetic store to a temporary folder (or --folder), measures, removes it, and prints JSON lines. Each number
comes from a process of its own, so that memory is that of the thing measured. Targets, at full size on 2 cores: build
< 600 s and < 2 GB; opening < 50 ms; one problem < 5 ms; processes share the mapped pages. "Cold" means that the file's
pages were dropped from the page cache first, as far as the system allows that.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlef_plugin.problems import ProblemStore, build_store

KB = 1000


def rows(problems: int, tests: int, test_bytes: int) -> Iterator[dict[str, Any]]:
    """Rows of equal size; every text differs, so that nothing shrinks by being equal."""
    rng = random.Random(0)
    filler = rng.randbytes(test_bytes).hex()
    half = test_bytes // 2
    for number in range(problems):
        texts = [f"{number} {i} {filler}"[:half] for i in range(tests)]
        public, private = {"input": texts[:1], "output": texts[:1]}, {"input": texts[1:], "output": texts[1:]}
        programs = {"language": [3, 3], "solution": [f"print({number})", "pass"]}
        yield {
            "name": f"problem {number}",
            "description": filler[:2000],
            "public_tests": public,
            "private_tests": private,
            "solutions": programs,
        }


def measure_build(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    build_store(rows(options.problems, options.tests, options.test_bytes), path)
    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"build_s": round(seconds, 1), "store_mb": size // 2**20, "peak_mb": round(peak_mb)}


def measure_open(path: Path, options: argparse.Namespace) -> dict[str, Any]:
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


def measure_fetch(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
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
        result[f"fetch_{kind}_max_ms"] = round(max(times), 2)
    return result


def measure_sharing(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What a second process adds: its own (private) memory, while both have read every problem."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        memory = pool.map(touch_all, [path, path], chunksize=1)
    return {"mapped_mb": memory[0]["mapped_mb"], "private_of_mapping_mb": [one["private_mb"] for one in memory]}


def touch_all(path: Path) -> dict[str, int]:
    store = ProblemStore.open(path)
    for id_ in store:
        store[id_]
    found = {"mapped_mb": 0, "private_mb": 0}
    mine = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            mine = line.endswith("problems.arrow")
        elif mine and first in ("Rss:", "Private_Dirty:"):
            found["mapped_mb" if first == "Rss:" else "private_mb"] += int(line.split()[1]) // 1024
    return found


def drop_pages(path: Path) -> None:
    for file in path.rglob("*.arrow"):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def alone(measure: Callable[..., Any], path: Path, options: argparse.Namespace, results: Any) -> None:
    results.put(measure(path, options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=650)
    parser.add_argument("--tests", type=int, default=100)
    parser.add_argument("--test-bytes", type=int, default=10 * KB, help="input and output of a test together")
    parser.add_argument("--folder", type=Path, help="where the store is made, if not in the system's")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-store-", dir=options.folder))
    context = multiprocessing.get_context("spawn")
    try:
        for measure in (measure_build, measure_open, measure_fetch, measure_sharing):
            results = context.SimpleQueue()
            process = context.Process(target=alone, args=(measure, folder / "store", options, results))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(f"{measure.__name__} failed with exit code {process.exitcode}")
            print(json.dumps({"problems": options.problems, "tests": options.tests} | results.get()), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
