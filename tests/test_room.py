"""What a run keeps on disk, by hand for 8 billion parameters; and folders that cannot be written."""

import logging
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from rlef_plugin import room
from rlef_plugin.errors import UsageError

B8 = 8_000_000_000
PLAIN = {
    "algo.advantage.estimator": "turn",
    "ckpt.disable_ds": False,
    "ckpt.save_hf": False,
    "ckpt.save_steps": 20,
    "ckpt.max_num": 3,
    "ckpt.max_mem": float("inf"),
    "ckpt.best_metric_key": "",
    "ds.lora.rank": 0,
    "eval.dataset": None,
    "eval.steps": -1,
}
Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("changed", "gb"),
    [
        ({}, 224),  # (2 + 12) x 8 x 2
        ({"ckpt.save_hf": True}, 240),
        ({"algo.advantage.estimator": "group_norm"}, 112),  # no critic
        ({"ds.lora.rank": 16}, 32),
        ({"ckpt.disable_ds": True, "ckpt.save_hf": True}, 16),
    ],
)
def test_bytes_of_a_checkpoint(changed, gb):
    assert room.checkpoint(PLAIN | changed, B8) == gb * 10**9


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        ({}, 3),
        ({"ckpt.save_steps": -1}, 0),
        ({"eval.dataset": "store", "eval.steps": 10}, 4),
        ({"eval.dataset": "store", "eval.steps": 10, "ckpt.save_steps": -1}, 1),
        ({"eval.dataset": "store", "eval.steps": 10, "ckpt.best_metric_key": "none"}, 3),
        ({"eval.steps": 10}, 3),  # nothing is evaluated
    ],
)
def test_checkpoints_at_a_time(changed, count):
    assert room.most_kept(PLAIN | changed) == count


@pytest.fixture
def warned(tmp_path: Path, monkeypatch, caplog):
    """What is said of a run with so many GB free on the one disk there is."""

    def run(free_gb: float, **changed):
        folders = {"ckpt.output_dir": tmp_path / "model", "ckpt.path": tmp_path / "checkpoints"}
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, int(free_gb * 1e9)))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "rlef"):
            named = {key: str(folder) for key, folder in folders.items()}
            room.warn_of_room(PLAIN | named | {k.replace("__", "."): v for k, v in changed.items()}, B8)
        return caplog.messages

    return run


def test_a_disk_that_the_third_checkpoint_would_fill_is_told(warned):
    assert warned(3 * 224 + 16 + 1) == []
    (said,) = warned(3 * 224 + 16 - 1)
    assert "has 687 GB free, but this run may still write 688 GB there" in said
    assert "the trained model and 3 checkpoints of 224 GB; make room" in said


def test_what_is_there_already_is_not_written_again(warned, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with (tmp_path / "checkpoints" / "states.pt").open("wb") as file:
        file.truncate(224 * 10**9)  # no blocks of it are on disk
    assert warned(2 * 224 + 17) == []
    assert len(warned(2 * 224 + 15)) == 1


def test_ckpt_max_mem_bounds_what_is_kept(warned):
    kept_gb = 2 * 100 * 1.073741824 + 224  # of each model 100 GiB, and then one more
    assert warned(kept_gb + 17, ckpt__max_mem=100) == []
    assert len(warned(kept_gb + 15, ckpt__max_mem=100)) == 1


def test_without_checkpoints_the_model_alone_counts(warned):
    assert warned(17, ckpt__save_steps=-1) == []
    assert "16 GB there: the trained model; make room" in warned(15, ckpt__save_steps=-1)[0]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    room.check_written({"ckpt.path": str(tmp_path / "new" / "folder")})
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    with pytest.raises(UsageError, match=r"ckpt\.output_dir=.*file/model cannot be written \(Not a directory\)"):
        room.check_written({"ckpt.path": str(tmp_path), "ckpt.output_dir": str(tmp_path / "file" / "model")})
