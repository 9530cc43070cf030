"""A checkpoint folder is one experiment's: what may go on in it, what may begin in it, and what is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_checkpoints import save
from test_launcher import flags_of, plan_of, store  # noqa: F401  # a fixture

from rlef_plugin import experiment, launcher
from rlef_plugin.errors import UsageError
from rlef_plugin.problems import ProblemStore, StoreWriter, TestCase


@pytest.fixture
def checkpoints(store: Path, tmp_path: Path) -> Path:  # noqa: F811
    """Of cpu-demo.yaml as it is."""
    path = tmp_path / "ckpt"
    start(store, path)
    for model in ("_actor", "_critic"):
        save(path, model, 3)
    return path


def start(store: Path, path: Path, *overrides: str, load: bool = True) -> str | None:  # noqa: F811
    where = [f"ckpt.load_enable={str(load).lower()}", f"ckpt.path={path}"]
    plan = plan_of("cpu-demo.yaml", store, *where, *overrides)
    return experiment.start(plan.config, plan.arguments)


def test_a_run_begins_where_nothing_is_and_goes_on_where_a_checkpoint_is(store: Path, checkpoints: Path) -> None:  # noqa: F811
    assert start(store, checkpoints.parent / "new") is None
    assert start(store, checkpoints) == "global_step3"


def test_other_problems_are_refused(store: Path, checkpoints: Path, tmp_path: Path) -> None:  # noqa: F811
    """Equally many, with the same ids: only a private test differs."""
    with StoreWriter(tmp_path / "other") as writer:
        for one in map(ProblemStore.open(store).__getitem__, ProblemStore.open(store)):
            tests = (TestCase("3", "5"),) if one.id == "double" else one.private_tests
            writer.add(replace(one, private_tests=tests))
    with pytest.raises(
        UsageError, match=r"other has other problems or tests in split train than the run in ckpt.path"
    ):
        start(tmp_path / "other", checkpoints)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("rlef.kl=sum", "rlef.kl=sum, but the run in ckpt.path=.* was trained with geometric_mean"),
        ("rlef.value=token", "rlef.value=token, but"),
        ("rlef.turn_limit=2", "rlef.turn_limit=2, but"),
        ("rlef.feedback=none", "rlef.feedback=none, but"),
        ("rlef.judge.strict_exit=false", "rlef.judge.strict_exit=False, but"),
        ("actor.model_name_or_path=another", "actor.model_name_or_path=another, but"),
        ("rollout.temperature=0.7", "rollout.temperature=0.7, but"),
    ],
)
def test_another_method_is_refused_and_changes_nothing(
    store: Path,  # noqa: F811
    checkpoints: Path,
    change: str,
    named: str,
) -> None:
    before = (checkpoints / experiment.FILE).read_text()
    with pytest.raises(UsageError, match=f"{named}.*choose another ckpt.path .*or delete"):
        start(store, checkpoints, change)
    assert (checkpoints / experiment.FILE).read_text() == before
    (checkpoints / experiment.FILE).unlink()
    assert start(store, checkpoints, change) == "global_step3"  # as the message says


def test_another_learning_rate_is_told(
    store: Path,  # noqa: F811
    checkpoints: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert start(store, checkpoints) == "global_step3"
    assert "other settings" not in caplog.text
    assert start(store, checkpoints, "actor.adam.lr=7.0e-7", "rlef.judge.workers=3", "ckpt.save_steps=9")
    (said,) = [record.getMessage() for record in caplog.records if "other settings" in record.getMessage()]
    assert "actor.adam.lr" in said and "-> 7e-07" in said and "rlef.judge.workers 0 -> 3" in said
    assert "ckpt." not in said
    assert json.loads((checkpoints / experiment.FILE).read_text())["settings"]["actor.adam.lr"] == 7e-7


def test_a_run_does_not_begin_among_checkpoints(store: Path, checkpoints: Path) -> None:  # noqa: F811
    """The host would delete them, as it keeps only so many."""
    with pytest.raises(UsageError, match="holds checkpoints, such as global_step3, which this run would delete"):
        start(store, checkpoints, load=False)
    assert start(store, checkpoints.parent / "new", load=False) is None


def test_the_host_is_told_to_go_on_only_where_there_is_something(
    store: Path,  # noqa: F811
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The host raises where it finds no checkpoint."""
    ran: list[list[str]] = []
    monkeypatch.setattr(launcher, "_run", lambda plan, flags: ran.append(flags))
    for path in (checkpoints, checkpoints.parent / "new"):
        flags = flags_of("cpu-demo.yaml", store, "ckpt.load_enable=true", f"ckpt.path={path}")
        launcher.run(launcher.make_plan(flags))
    assert ["--ckpt.load_enable" in flags for flags in ran] == [True, False]
