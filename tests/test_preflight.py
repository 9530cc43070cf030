"""What a run is checked for before it starts: the problems it uses, and only these, with the environment it names."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlef_plugin import preflight
from rlef_plugin.config import RlefConfig
from rlef_plugin.env import EnvConfig, Environment
from rlef_plugin.errors import UsageError
from rlef_plugin.problems import Problem, StoreWriter, TestCase

CALLED = (TestCase("[1]", "2"),)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and a model's settings."""
    from tiny_tokenizers import family_tokenizer
    from transformers import LlamaConfig

    path = tmp_path_factory.mktemp("models") / "instruct"
    family_tokenizer("llama-3.1").save_pretrained(path)
    LlamaConfig(max_position_embeddings=4096).save_pretrained(path)
    return path


def check(store: Path, model: Path, env: str = "CodeContestsEnv", **used: Any) -> None:
    config = RlefConfig(env=f"rlef_plugin.{env}", stores=(str(store),), episode=EnvConfig(turn_limit=1))
    arguments: dict[str, Any] = {"actor.model_name_or_path": str(model), "rollout.max_new_tokens": 128}
    names = {key.replace("__", "."): value for key, value in used.items()}
    preflight.check_context(config, {**arguments, "data.max_len": 4096, **names})


def test_only_the_splits_that_are_used_must_fit(tmp_path: Path, model: Path) -> None:
    store = tmp_path / "store"
    with StoreWriter(store) as writer:
        for split, text in (("test", "Add."), ("valid", "Add up."), ("train", "word " * 4000)):
            writer.add(Problem(f"in-{split}", text, (TestCase("1", "2"),), (), split=split))
    check(store, model, eval__dataset=str(store), eval__split="test")
    with pytest.raises(UsageError, match="data.max_len is 4096"):
        check(store, model, data__prompt_dataset=str(store), data__prompt_split="train", eval__dataset="")
    both = {"eval__dataset": str(store), "eval__split": "train"}
    with pytest.raises(UsageError, match="1 of 2 problems .*'in-train'"):
        check(store, model, data__prompt_dataset=str(store), data__prompt_split="valid", **both)
    with pytest.raises(UsageError, match="1 of 3 problems"):
        check(store, model)


def test_a_context_that_the_model_has_no_positions_for_is_refused(tmp_path: Path, model: Path) -> None:
    from transformers import LlamaConfig

    with StoreWriter(tmp_path / "store") as writer:
        writer.add(Problem("short", "Add.", (TestCase("1", "2"),), ()))
    check(tmp_path / "store", model)
    with pytest.raises(UsageError, match="data.max_len=4097 is more than the 4096 positions of .*: set .*=4096 or"):
        check(tmp_path / "store", model, data__max_len=4097)
    stretched = shutil.copytree(model, tmp_path / "stretched")
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    LlamaConfig(max_position_embeddings=4096, rope_parameters=rope).save_pretrained(stretched)
    check(tmp_path / "store", stretched, data__max_len=8192)
    (stretched / "config.json").unlink()
    with pytest.raises(UsageError, match="has no config.json that loads"):
        check(tmp_path / "store", stretched)


@pytest.mark.parametrize(
    ("source", "environment"),
    [("mbpp+", "MBPPPlusEnv"), ("humaneval+", "HumanEvalPlusEnv"), ("mine", "LiveCodeBenchEnv")],
)
def test_calls_need_an_environment_that_makes_them(tmp_path: Path, model: Path, source: str, environment: str) -> None:
    metadata = {"call": {"entry_point": "double"}, "starter": "def double(x):\n", "example": "assert double(1) == 2"}
    with StoreWriter(tmp_path / "store") as writer:
        writer.add(Problem("called", "Double it.", CALLED, CALLED, source=source, metadata=metadata))
    with pytest.raises(UsageError) as caught:
        check(tmp_path / "store", model)
    assert str(caught.value) == (
        "the tests of problem 'called' are calls of a function, and CodeContestsEnv runs programs that read and "
        f"write: use --env rlef_plugin.{environment}, or a FunctionEnv of your own"
    )
    check(tmp_path / "store", model, environment)


@pytest.mark.parametrize(
    ("environment", "key", "other"),
    [("HumanEvalPlusEnv", "starter", "MBPPPlusEnv"), ("MBPPPlusEnv", "example", "HumanEvalPlusEnv")],
)
def test_functions_of_another_kind_are_refused(
    tmp_path: Path, model: Path, environment: str, key: str, other: str
) -> None:
    source = {"MBPPPlusEnv": "mbpp+", "HumanEvalPlusEnv": "humaneval+"}[other]
    with StoreWriter(tmp_path / "store") as writer:
        metadata = {"call": {"entry_point": "double"}}
        writer.add(Problem("called", "Double it.", CALLED, CALLED, source=source, metadata=metadata))
    with pytest.raises(UsageError) as caught:
        check(tmp_path / "store", model, environment)
    assert str(caught.value) == (
        f"problem 'called' has no {key}, which {environment} shows first: use --env rlef_plugin.{other}"
    )


def test_an_environment_of_ones_own_is_not_given_calls_that_it_does_not_make() -> None:
    class Own(Environment):
        def first_message(self, problem: Problem) -> str:
            return problem.description

        def feedback(self, problem: Problem, code: object, result: object) -> str:
            return ""

    problem = Problem("called", "Double it.", CALLED, CALLED, metadata={"call": {"entry_point": "double"}})
    with pytest.raises(UsageError, match="Own runs programs that read and write"):
        asyncio.run(Own({"called": problem}, None, EnvConfig(), len).reset("called"))  # type: ignore[arg-type]
