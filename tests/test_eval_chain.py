"""Evaluation end to end on scripted models: served, played in real jails, scored, analysed; every number is known."""

import json
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted_server import PROBLEMS, rows, serving
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import report, run, server
from rlef_plugin.evaluation.rollouts import read
from rlef_plugin.evaluation.settings import EvalSettings, config_of
from rlef_plugin.problems import build_store

pytestmark = pytest.mark.nsjail
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets") / "store"
    build_store(rows(), folder)
    return folder


def settings(
    store: Path, out: Path, url: str, model: str, *overrides: str, rollouts: int = 4, in_flight: int = 8
) -> EvalSettings:
    config = config_of("rlef_plugin.CodeContestsEnv", store, out, ["rlef.judge.workers=1", *overrides])
    return EvalSettings(model=model, config=config, url=url, rollouts=rollouts, max_len=4096, in_flight=in_flight)


def evaluated(store: Path, out: Path, model: str, *overrides: str, **more: Any) -> report.Run:
    with serving() as (url, _):
        run.evaluate(settings(store, out, url, model, *overrides, **more), out, QUIET)
    return report.load(out)


def scores(found: report.Run) -> dict[tuple[str, int], float]:
    return {(one.name, one.turn_limit): one.rate.mean for one in found.scores}


def test_a_model_that_reads_feedback_is_right_at_the_second_turn(store: Path, tmp_path: Path) -> None:
    found = evaluated(store, tmp_path, "reader")
    assert scores(found) == {("1@3", 3): 1.0, ("1@10", 3): 1.0, ("1@1", 1): 0.0, ("1@3", 1): 0.0}
    assert [rate.mean for rate in found.behaviour.solved_by_turn] == [0, 1, 1]
    (recovery,) = found.behaviour.recovery
    assert (recovery.kind, recovery.at_first_turn.mean) == ("wrong_output", 1.0)
    assert [rate.mean for rate in recovery.solved_by_turn] == [1, 1]
    assert (found.behaviour.repeated.mean, found.behaviour.turns_mean) == (0, 2)
    assert found.behaviour.false_hope.mean == 0


@pytest.mark.parametrize("feedback, turns", [("random", 3), ("none", 3), ("verdict_only", 3)])
def test_it_is_not_where_the_feedback_is_not_real(store: Path, tmp_path: Path, feedback: str, turns: int) -> None:
    found = evaluated(store, tmp_path, "reader", f"rlef.feedback={feedback}")
    assert scores(found)["1@3", 3] == 0.0
    assert found.behaviour.turns_mean == turns


def test_private_feedback_helps_it_as_well(store: Path, tmp_path: Path) -> None:
    assert scores(evaluated(store, tmp_path, "reader", "rlef.feedback=private"))["1@3", 3] == 1.0


def test_a_model_that_repeats_itself(store: Path, tmp_path: Path) -> None:
    found = evaluated(store, tmp_path, "echo")
    assert set(scores(found).values()) == {0.0}
    assert (found.behaviour.repeated.mean, found.behaviour.chrf_mean, found.behaviour.changed_lines) == (1, 100, 0)
    assert found.behaviour.chrf_bins[-1] == 1


def test_a_model_that_is_right_every_second_time(store: Path, tmp_path: Path) -> None:
    """Of 4 rollouts a problem 2 are right: 1@3 in one turn draws 3 of 4 and finds a right one always; 1@1 half."""
    found = evaluated(store, tmp_path, "coin")
    assert scores(found) == {("1@3", 3): 0.5, ("1@10", 3): 1.0, ("1@1", 1): 0.5, ("1@3", 1): 1.0}
    assert [s.rate.mean for s in found.curves[1]] == pytest.approx([1 / 2, 5 / 6, 1.0])  # 1, 2 and 4 of 4 drawn
    assert found.behaviour.repeated.mean == 0


def test_a_model_without_programs(store: Path, tmp_path: Path) -> None:
    found = evaluated(store, tmp_path, "mute", rollouts=1)
    assert (found.behaviour.invalid_code.mean, found.behaviour.recovery[0].kind) == (1, "invalid_code")
    assert [turn.reward for turn in found.rollouts[0].turns] == [-0.2, -0.2, -1.0]


def test_what_was_refused_before_anything_was_played_does_not_hold_the_folder(store: Path, tmp_path: Path) -> None:
    with serving(lambda number: 400) as (url, _), pytest.raises(UsageError, match="refuses a request"):
        run.evaluate(settings(store, tmp_path, url, "echo", "rlef.turn_limit=2"), tmp_path, QUIET)
    with serving() as (url, _):
        run.evaluate(settings(store, tmp_path, url, "echo", "rlef.turn_limit=3", rollouts=1), tmp_path, QUIET)
    assert report.load(tmp_path).turn_limit == 3


def test_a_stopped_evaluation_goes_on_and_asks_for_nothing_twice(store: Path, tmp_path: Path) -> None:
    """The server dies in the middle: what had ended is kept, the rest is played by the next call, nothing twice."""
    with serving(lambda number: 400 if number > 29 else 0) as (url, asked):
        with pytest.raises(UsageError, match=r"refuses a request \(.*400.*the same command goes on from there"):
            run.evaluate(settings(store, tmp_path, url, "echo"), tmp_path, QUIET)
        assert len(asked) <= 29 + 8  # each of the 8 in flight is refused once at most
    kept = read(tmp_path / "rollouts")
    assert 0 < len(kept) < PROBLEMS * 4
    with serving() as (url, asked):
        run.evaluate(settings(store, tmp_path, url, "echo"), tmp_path, QUIET)
        assert len(asked) == 3 * (PROBLEMS * 4 - len(kept))
        run.evaluate(settings(store, tmp_path, url, "echo"), tmp_path, QUIET)  # nothing is missing: nothing is asked
        assert len(asked) == 3 * (PROBLEMS * 4 - len(kept))
    again = read(tmp_path / "rollouts")
    assert len(again) == PROBLEMS * 4 and all(one in again for one in kept)


def test_a_conversation_that_is_too_long_for_the_server_ends_its_episode(store: Path, tmp_path: Path) -> None:
    """The server's context holds one message: the second response is empty, and judged as the last one."""
    too_long = "This model's maximum context length is 4096 tokens."
    with serving(lambda number: 400 if number > PROBLEMS else 0, said=too_long) as (url, asked):
        chosen = settings(store, tmp_path, url, "echo", rollouts=1)
        run.evaluate(replace(chosen, in_flight=PROBLEMS), tmp_path, QUIET)
    found = read(tmp_path / "rollouts")
    assert [[turn.verdict for turn in one.turns] for one in found] == [["wrong_output", "invalid_code"]] * PROBLEMS
    assert len(asked) == 3 * PROBLEMS  # the second response is asked for again without a limit
    with serving(lambda number: 400, said=too_long) as (url, _):
        with pytest.raises(UsageError, match="the first message of problem 'secret-0' leaves no room for a response"):
            chosen = replace(settings(store, tmp_path / "b", url, "echo"), in_flight=1)
            run.evaluate(chosen, tmp_path / "b", QUIET)


def test_a_response_has_what_is_left_of_the_servers_context(store: Path, tmp_path: Path) -> None:
    """Of 700 tokens the first message takes 50 and we ask for 700 - 32; the conversation takes 300, and after 59
    tokens, 32 and at most 200 of feedback we ask for more than 400: both are too many, neither response is lost."""
    with serving(context=700) as (url, asked):
        chosen = settings(store, tmp_path, url, "reader", "rlef.feedback_tokens=200", rollouts=1)
        run.evaluate(replace(chosen, max_len=700, in_flight=1), tmp_path, QUIET)
    assert scores(report.load(tmp_path))["1@3", 3] == 1.0
    assert [one.get("max_tokens", 0) > 0 for one in asked] == [True, False, True, False] * PROBLEMS
    assert asked[0] == {**asked[1], "max_tokens": 668}


def test_a_server_with_a_shorter_context_than_max_len_is_refused(store: Path, tmp_path: Path) -> None:
    with serving(context=700) as (url, _):
        with pytest.raises(UsageError, match="a context of 700 tokens and --max-len is 4096.*set --max-len 700"):
            run.evaluate(settings(store, tmp_path, url, "echo"), tmp_path, QUIET)
    assert not (tmp_path / "eval.json").exists()


def test_a_response_may_fill_what_is_left_of_the_episode(store: Path, tmp_path: Path) -> None:
    """The server says that 59 tokens are read and written; with at most 512 of feedback, 32 around it and 256 of a
    response, as in training, 859 leave room for another turn, and 858 do not; a response of 100 needs no more than
    that. The tokenizer makes a token of each character and knows the prompt."""
    folder = tmp_path / "tokenizer"
    characters = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    characters.pre_tokenizer = Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=characters, unk_token="?").save_pretrained(folder)
    with serving() as (url, asked):
        chosen = settings(store, tmp_path / "a", url, "echo", "rlef.turn_limit=2", rollouts=1)
        run.evaluate(replace(chosen, max_len=859, problems=1), tmp_path / "a", QUIET)
        first, second = asked
        assert first["max_tokens"] == 859 - 32  # what cannot be counted is left to the server
        assert second["max_tokens"] == 859 - 59 - 32 - math.ceil(len(second["messages"][2]["content"]) / 3)
        run.evaluate(replace(chosen, max_len=858, problems=1), tmp_path / "less", QUIET)
        assert len(asked) == 3
        short = replace(chosen, max_len=59 + 512 + 32 + 100, max_new_tokens=100, problems=1)
        run.evaluate(short, tmp_path / "short", QUIET)
        assert len(asked) == 5
        known = replace(settings(store, tmp_path / "b", url, "echo", rollouts=1), tokenizer=str(folder), problems=1)
        run.evaluate(replace(known, max_len=1200), tmp_path / "b", QUIET)
    assert asked[5]["max_tokens"] == 1200 - 32 - len(asked[5]["messages"][0]["content"])


def test_text_that_cannot_be_written_is_replaced(store: Path, tmp_path: Path) -> None:
    with serving() as (url, _):
        run.evaluate(settings(store, tmp_path, url, "torn", rollouts=1), tmp_path, QUIET)
    assert [one.messages[-1].text for one in read(tmp_path / "rollouts")] == ["half a pair: ?"] * PROBLEMS


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_fails_for_a_while_is_asked_again(store: Path, tmp_path: Path, status: int) -> None:
    with serving(lambda number: status if number % 3 == 0 else 0) as (url, _):
        run.evaluate(settings(store, tmp_path, url, "reader"), tmp_path, QUIET)
    assert scores(report.load(tmp_path))["1@3", 3] == 1.0


def test_a_server_that_hangs_is_given_up(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GIVE_UP_S", 0.5)
    ended = threading.Event()
    with serving(lambda number: 503 if ended.wait() else 0) as (url, _):
        try:
            with pytest.raises(
                UsageError, match=r"failed for minutes \(no response in 0.5 s\): what was played is kept"
            ):
                run.evaluate(settings(store, tmp_path, url, "reader"), tmp_path, QUIET)
        finally:
            ended.set()


def test_sampling_and_a_seed_of_its_own_reach_the_server(store: Path, tmp_path: Path) -> None:
    with serving() as (url, asked):
        run.evaluate(settings(store, tmp_path, url, "echo", rollouts=2), tmp_path, QUIET)
    assert {(one["temperature"], one["top_p"], one["max_tokens"]) for one in asked} == {(0.2, 0.95, 2048)}
    assert len({one["seed"] for one in asked}) == PROBLEMS * 2 * 3


def test_the_folder_of_another_evaluation_is_refused(store: Path, tmp_path: Path) -> None:
    evaluated(store, tmp_path, "echo", rollouts=1)
    with serving() as (url, asked):
        for other, said in (
            (replace(settings(store, tmp_path, url, "echo"), temperature=0.9), "temperature=0.2, not 0.9"),
            (settings(store, tmp_path, url, "mute"), "model='echo', not 'mute'"),
            (settings(store, tmp_path, url, "echo", "rlef.turn_limit=2"), "episode="),
        ):
            with pytest.raises(UsageError, match=said):
                run.evaluate(other, tmp_path, QUIET)
        assert not asked
        run.evaluate(settings(store, tmp_path, url, "echo", rollouts=3), tmp_path, QUIET)  # more of the same is fine
    assert len(read(tmp_path / "rollouts")) == PROBLEMS * 3


def test_what_cannot_work_is_said_before_work_starts(store: Path, tmp_path: Path) -> None:
    with serving() as (url, _):
        with pytest.raises(UsageError, match=r"serves reader, .*, not 'gpt': change --model"):
            run.evaluate(settings(store, tmp_path / "a", url, "gpt"), tmp_path / "a", QUIET)
        run.evaluate(settings(store, tmp_path / "a", url, "echo", rollouts=1), tmp_path / "a", QUIET)  # still free
        with pytest.raises(UsageError, match="has no split 'test': choose one of valid"):
            run.evaluate(replace(settings(store, tmp_path, url, "echo"), split="test"), tmp_path, QUIET)
    bare = tmp_path / "bare"
    build_store([{**row, "incorrect_solutions": None} for row in rows()], bare)
    with pytest.raises(UsageError, match="rlef.feedback=random needs incorrect solutions of other problems"):
        run.evaluate(settings(bare, tmp_path / "c", "", "echo", "rlef.feedback=random"), tmp_path / "c", QUIET)
    with pytest.raises(UsageError, match="no OpenAI-compatible server answers at http://127.0.0.1:9/v1"):
        run.evaluate(settings(store, tmp_path / "b", "http://127.0.0.1:9/v1", "echo"), tmp_path / "b", QUIET)
    with pytest.raises(UsageError, match=r"rlef.feedbak.*rlef.feedback"):
        settings(store, tmp_path, "", "echo", "rlef.feedbak=none")


def test_rollouts_hold_no_private_test(store: Path, tmp_path: Path) -> None:
    found = evaluated(store, tmp_path, "echo", rollouts=1)
    kept = json.dumps([report.as_dict(found), [str(one) for one in found.rollouts]])
    assert "public 0" in kept and "private 0" not in kept
