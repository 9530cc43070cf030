"""The store: what goes in comes out, nothing is copied before it is asked for, and half a store never opens."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from rlef_plugin.problems import (
    EXAMPLES,
    Problem,
    ProblemStore,
    ProblemStores,
    Solution,
    StoreError,
    StoreWriter,
    TestCase,
    build_store,
    read_rows,
)
from rlef_plugin.problems.writer import BATCH_BYTES


def problem(id_: str, size_bytes: int = 10, split: str = "train", tests: int = 2) -> Problem:
    cases = tuple(TestCase(f"{id_} {i}\n", str(i) * size_bytes) for i in range(tests))
    return Problem(id=id_, description=f"Do {id_}.", public_tests=cases[:1], private_tests=cases[1:], split=split)


def write(path: Path, problems: list[Problem], solutions: tuple[Solution, ...] = ()) -> ProblemStore:
    with StoreWriter(path, overwrite=True) as writer:
        for one in problems:
            writer.add(one, solutions)
    return ProblemStore.open(path)


# --- round trip


def test_every_field_comes_back(tmp_path: Path) -> None:
    odd = "tabs\t, CRLF\r\n, NUL \0, \u00e9, \U0001f600, no newline at the end"
    tests = (TestCase(odd, ""),), (TestCase("", odd), TestCase("", ""))
    full = Problem("full", odd, *tests, 1.5, 256, "in.txt", "out.txt", "test", name="F u", source="s", difficulty="A")
    full = replace(
        full, checker=f"def check(*_):\n    return {odd!r}", metadata={"entry": odd, "b": [1, None, {"a": 1.5}]}
    )
    solutions = (Solution("print(1)", False, "timeout"), Solution("x = '\u00e9'\n", True), Solution("", False))
    store = write(tmp_path / "s", [full, problem("plain")], solutions)
    assert store["full"] == full
    assert store["plain"] == problem("plain")
    assert store.solutions("full") == [solutions[1], solutions[0], solutions[2]]  # correct ones first, else as given


def test_batches_do_not_mix_problems_up(tmp_path: Path) -> None:
    # Each batch holds a little more than BATCH_BYTES: 3 problems of 0.4 x make one, so 10 make 4.
    problems = [problem(f"p{i}", size_bytes=int(BATCH_BYTES * 0.4), tests=1) for i in range(10)]
    store = write(tmp_path / "s", problems)
    with pa.ipc.open_stream(tmp_path / "s" / "problems.arrow") as stream:  # any Arrow reader takes it
        assert [batch.num_rows for batch in stream] == [3, 3, 3, 1]
    assert all(store[one.id] == one for one in problems)


def test_splits_ids_and_prompts(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [problem("a"), problem("b", split="valid"), problem("c")])
    assert (len(store), list(store), store.ids()) == (3, ["a", "b", "c"], ["a", "b", "c"])
    assert ("a" in store, "z" in store) == (True, False)
    assert (store.ids("train"), store.ids("valid"), store.splits) == (["a", "c"], ["b"], {"train": 2, "valid": 1})
    lines = [json.loads(line) for line in store.prompts("train").read_text().splitlines()]
    assert lines == [{"prompt": id_, "label": id_, "datasource": "train"} for id_ in ("a", "c")]
    with pytest.raises(StoreError, match="has no split 'test': choose one of train, valid"):
        store.prompts("test")


def test_no_expected_output_is_in_the_prompts(tmp_path: Path) -> None:
    build_store(read_rows(EXAMPLES), tmp_path / "s")
    store = ProblemStore.open(tmp_path / "s")
    for split in store.splits:
        for line in store.prompts(split).read_text().splitlines():
            assert set(json.loads(line)) == {"prompt", "label", "datasource"}
            assert json.loads(line)["prompt"] in store


def test_same_records_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, [problem("a"), problem("b")], (Solution("pass", True),))
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == 5
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


# --- mapped, not read


def test_tests_are_mapped_and_not_copied(tmp_path: Path) -> None:
    write(tmp_path / "s", [problem(f"p{i}", size_bytes=2**20) for i in range(16)])
    before = pa.total_allocated_bytes()
    store = ProblemStore(tmp_path / "s")
    batch, _ = store._row(store._problems, "p0", "problems_at")
    outputs = batch.column("private_outputs").values
    assert pa.total_allocated_bytes() - before < 2**16  # 16 MB of tests, not one copied
    assert len(outputs) == batch.num_rows > 1
    start, end = mapping(tmp_path / "s" / "problems.arrow")
    data = outputs.buffers()[2]
    assert start <= data.address < data.address + data.size <= end


def mapping(file: Path) -> tuple[int, int]:
    """Where this process has the file in its address space."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(file)):
            start, end = re.match("([0-9a-f]+)-([0-9a-f]+)", line).groups()  # type: ignore[union-attr]
            return int(start, 16), int(end, 16)
    raise AssertionError(f"{file} is not mapped")


def maps_under(folder: Path) -> str:
    return "\n".join(line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line)


def test_solutions_are_opened_only_when_asked_for(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [problem("a")], (Solution("pass", True),))
    assert store["a"].id == "a"
    assert "/solutions.arrow" not in maps_under(tmp_path)
    assert store.solutions("a") == [Solution("pass", True)]
    assert "/solutions.arrow" in maps_under(tmp_path)


def test_a_process_opens_a_store_once_and_sees_a_new_one(tmp_path: Path) -> None:
    first = write(tmp_path / "s", [problem("a")])
    assert ProblemStore.open(str(tmp_path / "s")) is first
    assert pickle.loads(pickle.dumps(first)) is first
    second = write(tmp_path / "s", [problem("b")])
    assert (second.ids(), first.ids()) == (["b"], ["a"])
    assert first["a"] == problem("a")  # the old one stays readable for those who hold it


@pytest.mark.filterwarnings("ignore:This process")  # it has threads, and that is what is tested
def test_a_forked_child_reads_the_parents_store(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [problem("a")])
    child = os.fork()
    if child == 0:
        os._exit(0 if store["a"] == problem("a") else 1)
    assert os.waitpid(child, 0)[1] == 0


# --- what cannot be opened


def test_unknown_id_names_the_nearest_and_the_store(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [problem("adding-numbers"), problem("sorting")])
    for lookup in (store, ProblemStores([store])):
        with pytest.raises(KeyError) as caught:
            lookup["ading-numbers"]
        assert isinstance(caught.value, StoreError)
        assert str(caught.value) == (
            f"problem 'ading-numbers' is not in {tmp_path / 's'}: the nearest id is 'adding-numbers'; "
            "use the store that the prompts came from"
        )
    with pytest.raises(StoreError, match="no id is near it"):
        store.solutions("?")


def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere does not exist: make the store with `rlef data build`"):
        ProblemStore.open(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is not a problem store"):
        ProblemStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(StoreError, match="is not that of a problem store"):
        ProblemStore.open(tmp_path)


def test_another_version(tmp_path: Path) -> None:
    write(tmp_path / "s", [problem("a")])
    manifest = tmp_path / "s" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(StoreError, match="has the format 'rlef-problem-store 3', and this plugin reads '.* 2'"):
        ProblemStore.open(tmp_path / "s")


@pytest.mark.parametrize("name", ["problems.arrow", "index.arrow", "solutions.arrow", "prompts/train.jsonl"])
def test_a_store_with_a_cut_or_missing_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / "s", [problem("a")])
    file = tmp_path / "s" / name
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(StoreError, match=f"{name} has {len(content) - 1} bytes instead of {len(content)}"):
        ProblemStore(tmp_path / "s")
    file.unlink()
    with pytest.raises(StoreError, match=f"{name} has no bytes"):
        ProblemStore(tmp_path / "s")


def test_changed_content_is_found_by_the_hashes(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [problem("a", size_bytes=1000)])
    store.check_hashes()
    file = tmp_path / "s" / "problems.arrow"
    file.write_bytes(file.read_bytes().replace(b"1" * 1000, b"2" * 1000))
    with pytest.raises(StoreError, match="problems.arrow was changed after the build"):
        store.check_hashes()


# --- atomicity


def test_a_build_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), StoreWriter(tmp_path / "s") as writer:
        writer.add(problem("a"))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rebuild_leaves_the_old_store(tmp_path: Path) -> None:
    old = write(tmp_path / "s", [problem("old")])
    with pytest.raises(ZeroDivisionError), StoreWriter(tmp_path / "s", overwrite=True) as writer:
        writer.add(problem("new"))
        raise ZeroDivisionError
    assert ProblemStore.open(tmp_path / "s") is old
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


KILLED = """
import os, signal, sys
from rlef_plugin.problems import Problem, StoreWriter, TestCase
from rlef_plugin.problems import writer
when = sys.argv[2]
if when == "at the last moment":  # everything but the rename is done
    writer.StoreWriter._move_into_place = lambda self: os.kill(os.getpid(), signal.SIGKILL)
with writer.StoreWriter(sys.argv[1], overwrite=True) as w:
    for i in range(2000):
        w.add(Problem(str(i), "d", (TestCase("1", "1"),), (TestCase("2", "2"),)))
    if when == "half-way":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["half-way", "at the last moment"])
def test_a_killed_build_leaves_no_store_that_opens(tmp_path: Path, when: str) -> None:
    def killed() -> None:
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "s"), when], cwd=Path(__file__).parents[1])
        assert done.returncode == -signal.SIGKILL

    killed()
    with pytest.raises(StoreError, match="does not exist"):
        ProblemStore.open(tmp_path / "s")
    old = write(tmp_path / "s", [problem("old")])
    killed()
    assert ProblemStore.open(tmp_path / "s") is old
    assert old["old"] == problem("old")


def test_a_half_written_store_is_called_so(tmp_path: Path) -> None:
    write(tmp_path / "s", [problem("a")])
    (tmp_path / "s" / "manifest.json").unlink()
    with pytest.raises(StoreError, match="was left half-written"):
        ProblemStore.open(tmp_path / "s")


def test_what_is_not_a_store_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="exists and is not a problem store"):
        StoreWriter(tmp_path / "home", overwrite=True)
    write(tmp_path / "s", [problem("a")])
    with pytest.raises(StoreError, match="already holds a problem store"):
        StoreWriter(tmp_path / "s")
    with pytest.raises(StoreError, match="may not be written to"), StoreWriter(tmp_path / "home" / "thesis.txt" / "s"):
        pass
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


# --- several stores


def test_stores_looked_up_as_one(tmp_path: Path) -> None:
    write(tmp_path / "train", [problem("a"), problem("b")])
    write(tmp_path / "valid", [problem("b", split="valid"), problem("c")])  # the same problem in another split is fine
    stores = ProblemStores.open([tmp_path / "train", str(tmp_path / "valid")])
    assert (len(stores), stores["a"].id, stores["b"].split, stores["c"].id) == (3, "a", "train", "c")
    assert (stores.ids("train"), stores.ids("valid")) == (["a", "b", "c"], ["b"])
    write(tmp_path / "other", [problem("b", size_bytes=11)])
    with pytest.raises(StoreError, match="problem 'b' is not the same in .*train and .*other"):
        ProblemStores.open([tmp_path / "train", tmp_path / "other"])


# --- the plugin's own problems and the packages


def test_importing_the_records_imports_no_arrow() -> None:
    code = "import sys, rlef_plugin.problems.records; sys.exit('pyarrow' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
