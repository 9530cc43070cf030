"""Policy and critic go on from the same whole checkpoint, whatever a kill left behind."""

import os
from pathlib import Path

import pytest

from rlef_plugin.checkpoints import agree, begin, drop_old_models, latest, models_of


def save(path: Path, model: str, step: int, *, best: bool = False, whole: bool = True, noted: bool = True) -> None:
    """What the host leaves in one folder, in its order: weights, the note of the latest, metric.json."""
    tag = f"best_global_step{step}" if best else f"global_step{step}"
    (path / model / tag).mkdir(parents=True)
    if noted:
        (path / model / "latest").write_text(tag)
    if whole:
        metric = path / model / tag / "metric.json"
        metric.write_text("{}")
        os.utime(metric, ns=(0, step * 2 + best))


def notes(path: Path) -> list[str | None]:
    files = [path / model / "latest" for model in ("_actor", "_critic")]
    return [file.read_text() if file.is_file() else None for file in files]


def test_both_whole_changes_nothing(tmp_path: Path) -> None:
    for step in (9, 10):  # as text, 9 comes last
        for model in ("_actor", "_critic"):
            save(tmp_path, model, step)
    before = (tmp_path / "_actor" / "latest").stat().st_ino
    assert agree(tmp_path) == "global_step10"
    assert notes(tmp_path) == ["global_step10", "global_step10"]
    assert (tmp_path / "_actor" / "latest").stat().st_ino == before


@pytest.mark.parametrize("noted", [True, False])
def test_killed_between_policy_and_critic(tmp_path: Path, noted: bool) -> None:
    for model in ("_actor", "_critic"):
        save(tmp_path, model, 1)
    save(tmp_path, "_actor", 2)
    save(tmp_path, "_critic", 2, whole=False, noted=noted)  # its note is written before its metric.json
    assert agree(tmp_path) == "global_step1"
    assert notes(tmp_path) == ["global_step1", "global_step1"]


def test_killed_while_a_checkpoint_is_written_again(tmp_path: Path) -> None:
    """A second run saves step 2, which the first left whole on one side: the old mark must not stand for it."""
    for step in (1, 2):
        for model in ("_actor", "_critic"):
            save(tmp_path, model, step)
    begin(tmp_path, "_actor", "global_step2")
    assert latest(tmp_path) == "global_step1"
    begin(tmp_path, "_critic", "global_step3")  # the first time there is nothing to take away
    assert not (tmp_path / "_critic" / "global_step3").exists()


def test_an_empty_note_is_written_anew(tmp_path: Path) -> None:
    for model in ("_actor", "_critic"):
        save(tmp_path, model, 4)
    (tmp_path / "_critic" / "latest").write_text("")
    assert agree(tmp_path) == "global_step4" and notes(tmp_path) == ["global_step4", "global_step4"]


def test_a_best_checkpoint_counts_as_long_as_it_is_the_last(tmp_path: Path) -> None:
    for model in ("_actor", "_critic"):
        save(tmp_path, model, 2)
        save(tmp_path, model, 2, best=True)
    assert latest(tmp_path) == "best_global_step2"
    for model in ("_actor", "_critic"):
        save(tmp_path, model, 3)
    assert agree(tmp_path) == "global_step3"


def test_without_a_critic_the_policy_decides(tmp_path: Path) -> None:
    save(tmp_path, "_actor", 5)
    assert agree(tmp_path, models_of("rloo")) == "global_step5"
    assert not (tmp_path / "_critic").exists()


def test_a_critic_that_another_run_left_counts_for_nothing(tmp_path: Path) -> None:
    for step in (2, 4):
        save(tmp_path, "_critic", step)
    for step in (4, 8, 12):
        save(tmp_path, "_actor", step)
    assert agree(tmp_path, models_of("rloo")) == "global_step12"
    assert notes(tmp_path) == ["global_step12", "global_step4"]
    assert latest(tmp_path, models_of("turn")) == "global_step4"


def test_a_copy_without_its_times_goes_on_from_what_the_notes_name(tmp_path: Path) -> None:
    for model in ("_actor", "_critic"):
        for step in (8, 9, 10):
            save(tmp_path, model, step)
            os.utime(tmp_path / model / f"global_step{step}" / "metric.json", ns=(0, 100 - step))
    assert agree(tmp_path) == "global_step10"
    assert notes(tmp_path) == ["global_step10", "global_step10"]


def test_killed_in_the_first_save_leaves_nothing_to_go_on_from(tmp_path: Path) -> None:
    save(tmp_path, "_actor", 1)
    (tmp_path / "_critic").mkdir()
    assert agree(tmp_path) is None
    assert notes(tmp_path) == [None, None]  # the host would load what the policy's note names
    assert agree(tmp_path / "nothing") is None


def test_a_loadable_model_goes_with_its_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, "_actor", 40)
    save(tmp_path, "_actor", 20, best=True)
    for name in ("global_step20_hf", "global_step40_hf", "best_global_step10_hf", "best_global_step20_hf", "mine_hf"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    drop_old_models(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["_actor", "best_global_step20_hf", "global_step40_hf", "mine_hf"]
