"""One episode through the real executor, with a scripted engine and judge: tokens, masks, room, rewards, logs."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import (
    BROKEN_JUDGE,
    NO_CODE,
    PUBLIC_ONLY,
    SLOW,
    SOLVED,
    WRONG,
    FullBudgetEnv,
    ScriptedEngine,
    ScriptedJudge,
    log_prob,
    problem,
    reply,
)
from tiny_tokenizers import family_tokenizer

from rlef_plugin.config import VARIABLE, RlefConfig
from rlef_plugin.env import CodeContestsEnv, Dialog, EnvConfig, Step
from rlef_plugin.errors import UsageError
from rlef_plugin.judge import SandboxError, Verdict
from rlef_plugin.problems import ProblemStore, StoreWriter, UnknownProblemError

pytestmark = pytest.mark.host  # the executor's base class is the host's, and importing that imports torch

NAMES = ("a", "bb", "ccc", "dddd", "e-e", "f-ff", "g-ggg", "h")
FEEDBACK = 40  # tokens
LOGS = {
    "solved",
    "public_passed",
    "turns",
    "responses_truncated",
    "judge_s",
    "generate_s",
    "judge/checker_errors",
    "judge/killed",
    "turn_rewards",
    "turn_verdicts",
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return family_tokenizer("llama-3.1")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("executor") / "store"
    with StoreWriter(path) as writer:
        for name in NAMES:
            writer.add(problem(name))
    return path


@dataclass
class Played:
    result: dict[str, Any]
    engine: ScriptedEngine
    judge: ScriptedJudge

    @property
    def tokens(self) -> list[int]:
        return self.result["observation_tokens"]

    @property
    def logs(self) -> dict[str, Any]:
        return self.result["extra_logs"]

    @property
    def responses(self) -> list[list[int]]:
        return [self.tokens[start:end] for start, end in self.result["action_ranges"]]


class Players:
    """Makes executors as the host does: no arguments, the settings in the environment variable."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Path, tokenizer: Any) -> None:
        self.monkeypatch, self.store, self.tokenizer = monkeypatch, store, tokenizer

    def executor(self, env: str = "scripted.FullBudgetEnv", **episode: Any) -> Any:
        from rlef_plugin.openrlhf_ext import executor

        self.judges: list[ScriptedJudge] = []

        async def open_patient_judge(config: Any) -> ScriptedJudge:
            await asyncio.sleep(0)  # the real one waits for its first jail
            self.judges.append(ScriptedJudge())
            return self.judges[-1]

        episode_config = EnvConfig(**{"feedback_tokens": FEEDBACK, **episode})
        config = RlefConfig(env=env, stores=(str(self.store),), episode=episode_config)
        self.monkeypatch.setenv(VARIABLE, config.to_json())
        self.monkeypatch.setattr(executor, "open_patient_judge", open_patient_judge)
        return executor.RlefAgentExecutor()

    def play(
        self,
        *replies: str,
        label: str = "bb",
        max_length: int = 2000,
        max_tokens: int | None = 100,
        logprobs: int | None = 1,
        by_character: bool = True,
        stop: list[int] | None = None,
        **settings: Any,
    ) -> Played:
        engine = ScriptedEngine(self.tokenizer, lambda _, turn: replies[turn - 1], by_character=by_character)
        params = SimpleNamespace(max_tokens=max_tokens, logprobs=logprobs, temperature=1.0, stop_token_ids=stop)
        executor = self.executor(**settings)
        result = asyncio.run(executor.execute("the prompt", label, params, max_length, self.tokenizer, engine))
        unchanged = {"max_tokens": max_tokens, "logprobs": logprobs, "temperature": 1.0, "stop_token_ids": stop}
        assert vars(params) == unchanged
        return Played(result, engine, self.judges[0])


@pytest.fixture
def players(monkeypatch: pytest.MonkeyPatch, store: Path, tokenizer: Any) -> Players:
    return Players(monkeypatch, store, tokenizer)


@pytest.fixture
def play(players: Players) -> Callable[..., Played]:
    return players.play


def filler(text: str) -> str:
    return text + "~" * (FEEDBACK - count_tokens(text))


def count_tokens(text: str) -> int:
    return Dialog(family_tokenizer("llama-3.1")).count_tokens(text)


# --- the tokens


def test_without_a_tokenizer_it_is_that_of_the_engines_model(play, players: Players, tokenizer: Any, tmp_path: Path):
    tokenizer.save_pretrained(tmp_path)
    expected = play(reply(WRONG), reply(SOLVED))
    engine = ScriptedEngine(tokenizer, lambda _, turn: reply((WRONG, SOLVED)[turn - 1]))
    engine.kwargs = {"model": str(tmp_path)}  # type: ignore[attr-defined]
    params = SimpleNamespace(max_tokens=100, logprobs=1, temperature=1.0, stop_token_ids=None)
    executor = players.executor()
    result = asyncio.run(executor.execute("the prompt", "bb", params, 2000, None, engine))
    assert result["observation_tokens"] == expected.tokens


def test_the_stream_is_prompt_response_feedback_response(play, tokenizer: Any) -> None:
    played = play(reply(WRONG), reply(NO_CODE), reply(SOLVED))
    dialog, eot = Dialog(tokenizer), tokenizer.eos_token_id
    responses = [by_character(tokenizer, reply(kind)) + [eot] for kind in (WRONG, NO_CODE, SOLVED)]
    prompt = dialog.prompt_tokens("Solve <bb>.")
    feedback = [dialog.feedback_tokens(filler(text), eot) for text in ("Failed. ", "No program. ")]
    expected = [prompt, responses[0], feedback[0], responses[1], feedback[1], responses[2]]
    assert played.tokens == [token for part in expected for token in part]
    assert played.responses == responses  # as sampled, although the tokenizer would choose other tokens
    assert responses[0] != tokenizer.encode(reply(WRONG), add_special_tokens=False) + [eot]


def test_the_engine_sees_the_exact_prefix_each_turn(play) -> None:
    played = play(reply(WRONG), reply(WRONG), reply(WRONG))
    starts = [start for start, _ in played.result["action_ranges"]]
    assert [ids for ids, _, _ in played.engine.requests] == [played.tokens[:start] for start in starts]


def test_with_the_papers_environment_it_is_the_conversation_rendered_at_once(
    play, tokenizer: Any, store: Path
) -> None:
    replies = [reply(WRONG), reply(NO_CODE), reply(PUBLIC_ONLY)]
    config = {"env": "rlef_plugin.CodeContestsEnv", "feedback_tokens": 512}
    played = play(*replies, by_character=False, max_length=8000, **config)
    env = CodeContestsEnv(
        ProblemStore.open(store), ScriptedJudge(), EnvConfig(feedback_tokens=512), Dialog(tokenizer).count_tokens
    )

    async def messages() -> list[dict[str, str]]:
        dialog = [{"role": "user", "content": await env.reset("bb")}]
        for text in replies:
            dialog.append({"role": "assistant", "content": text})
            step = await env.step(text)
            if not step.done:
                dialog.append({"role": "user", "content": step.observation})
        return dialog

    rendered = tokenizer.apply_chat_template(asyncio.run(messages()), tokenize=False)
    assert played.tokens == tokenizer.encode(rendered, add_special_tokens=False)
    assert "SECRET" not in rendered  # nothing of a private test


def test_log_probs_stand_at_their_tokens_and_nowhere_else(play) -> None:
    played = play(reply(WRONG), reply(NO_CODE), reply(SOLVED))
    ranges = played.result["action_ranges"]
    inside = {position for start, end in ranges for position in range(start, end)}
    assert len(ranges) == 3
    assert played.result["rollout_log_probs"] == [
        log_prob(position) if position in inside else 0.0 for position in range(len(played.tokens))
    ]


def test_without_importance_weights_there_are_no_log_probs(play) -> None:
    played = play(reply(WRONG), reply(SOLVED), logprobs=None)
    assert played.result["rollout_log_probs"] is None
    assert len(played.responses) == 2


# --- responses that open with text of the environment

PREFILL = "```python\n# bb\n"
REST = "print('{}')\n```"


def test_a_prefill_is_prompt_and_neither_response_nor_training(play, tokenizer: Any) -> None:
    played = play(REST.format(WRONG), REST.format(SOLVED), env="scripted.PrefilledEnv")
    dialog, eot = Dialog(tokenizer), tokenizer.eos_token_id
    opening = tokenizer.encode(PREFILL, add_special_tokens=False)
    responses = [by_character(tokenizer, REST.format(kind)) + [eot] for kind in (WRONG, SOLVED)]
    parts = [
        *(dialog.prompt_tokens("Solve <bb>."), opening, responses[0]),
        *(dialog.feedback_tokens(filler("Failed. "), eot), opening, responses[1]),
    ]
    assert played.tokens == [token for part in parts for token in part]
    assert played.responses == responses
    starts = [start for start, _ in played.result["action_ranges"]]
    assert [ids for ids, _, _ in played.engine.requests] == [played.tokens[:start] for start in starts]
    log_probs = played.result["rollout_log_probs"]
    assert [log_probs[start - 1] for start in starts] == [0.0, 0.0] and all(log_probs[start] for start in starts)
    assert played.logs["turn_rewards"] == [0.0, 1.0, 0.0]  # the program is the prefill with the response


def test_a_prefilled_conversation_is_the_one_rendered_at_once(play, tokenizer: Any) -> None:
    played = play(REST.format(WRONG), REST.format(SOLVED), env="scripted.PrefilledEnv", by_character=False)
    contents = ["Solve <bb>.", PREFILL + REST.format(WRONG), filler("Failed. "), PREFILL + REST.format(SOLVED)]
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert played.tokens == tokenizer.encode(rendered, add_special_tokens=False)
    assert [message["text"] for message in played.result["record"]["messages"]] == contents


@pytest.mark.parametrize("spare, turns", [(-1, 1), (0, 2)])
def test_another_turn_needs_room_for_the_prefill_too(play, tokenizer: Any, spare: int, turns: int) -> None:
    env = {"env": "scripted.PrefilledEnv"}
    replies = REST.format(WRONG), REST.format(SOLVED)
    first = play(*replies, **env).result["action_ranges"][0][1]
    opening = len(tokenizer.encode(PREFILL, add_special_tokens=False))
    need = first + FEEDBACK + overhead(tokenizer) + opening + 60
    assert play(*replies, max_length=need + spare, max_tokens=60, **env).logs["turns"] == turns


# --- limits


def test_each_turn_has_the_same_token_limit(play) -> None:
    played = play(reply(WRONG), reply(WRONG), reply(WRONG), max_tokens=70)
    assert [limit for _, limit, _ in played.engine.requests] == [70, 70, 70]
    assert len({id(params) for *_, params in played.engine.requests}) == 3  # the host's object is shared, ours are not


def test_a_response_gets_no_more_than_what_is_left(play) -> None:
    prompt = len(play(reply(SOLVED)).engine.requests[0][0])
    for max_tokens in (None, 100):
        played = play(reply(SOLVED), max_tokens=max_tokens, max_length=prompt + 60)
        assert [limit for _, limit, _ in played.engine.requests] == [60]


@pytest.mark.parametrize("stop", [None, [], [7]])
def test_the_engine_stops_at_the_templates_end_of_turn(play, tokenizer: Any, stop: list[int] | None) -> None:
    """Also if the model's generation config does not name it; what else the host stops at stays."""
    played = play(reply(WRONG), reply(SOLVED), stop=stop)
    expected = [*(stop or []), Dialog(tokenizer).end_of_turn_id]
    assert [params.stop_token_ids for *_, params in played.engine.requests] == [expected] * 2
    assert [response[-1] for response in played.responses] == [Dialog(tokenizer).end_of_turn_id] * 2


def test_a_response_cut_by_length_is_closed(play, tokenizer: Any) -> None:
    played = play(reply(WRONG, padding=500), reply(SOLVED), max_tokens=50)
    eot = tokenizer.eos_token_id
    (_, end), _ = played.result["action_ranges"]
    assert len(played.responses[0]) == 50 and eot not in played.responses[0]
    feedback = Dialog(tokenizer).feedback_tokens(filler("Failed. "), played.responses[0][-1])
    assert played.tokens[end : end + len(feedback)] == feedback and feedback[0] == eot
    assert (played.result["truncated"], played.logs["responses_truncated"]) == (True, 1.0)


def test_nothing_cut_is_not_truncated(play) -> None:
    played = play(reply(WRONG), reply(SOLVED))
    assert (played.result["truncated"], played.logs["responses_truncated"]) == (False, 0.0)


def overhead(tokenizer: Any) -> int:
    return Dialog(tokenizer).closing_overhead()


@pytest.mark.parametrize("spare, turns", [(-1, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("max_tokens, response", [(60, 60), (256, 256), (900, 256), (None, 256)])
def test_another_turn_needs_room_for_feedback_and_a_program(
    play, tokenizer: Any, max_tokens: int | None, response: int, spare: int, turns: int
) -> None:
    """The response before it is judged as the final one if there is a token too few."""
    first = play(reply(WRONG), reply(SOLVED)).result["action_ranges"][0][1]
    need = first + FEEDBACK + overhead(tokenizer) + response
    played = play(reply(WRONG), reply(SOLVED), max_length=need + spare, max_tokens=max_tokens)
    assert played.logs["turns"] == turns
    # Turn 1 is judged as final exactly when it is the last, and a wrong program then costs the episode.
    assert played.logs["turn_rewards"] == ([-1.0, 0.0, 0.0] if turns == 1 else [0.0, 1.0, 0.0])


@pytest.mark.parametrize("closed", [True, False], ids=["ended", "cut"])
def test_no_episode_is_ever_longer_than_the_context(play, tokenizer: Any, closed: bool) -> None:
    """With feedback that takes its whole budget; a cut response needs one token more to be closed."""
    prompt = len(play(reply(SOLVED)).engine.requests[0][0])
    turns = Counter()
    for max_length in range(prompt + 16, prompt + 360, 3):
        text = reply(WRONG) if closed else reply(WRONG, padding=200)
        played = play(text, text, text, max_length=max_length, max_tokens=60)
        assert len(played.tokens) <= max_length
        assert played.logs["turns"] == len(played.responses)
        assert all(len(response) >= 16 for response in played.responses)
        turns[played.logs["turns"]] += 1
    assert set(turns) == {1, 2, 3}


def test_a_prompt_without_room_for_a_response_is_an_error(play) -> None:
    prompt = len(play(reply(SOLVED)).engine.requests[0][0])
    play(reply(SOLVED), max_length=prompt + 1)
    with pytest.raises(ValueError, match=f"problem bb: its prompt of {prompt} tokens .* data.max_len={prompt}"):
        play(reply(SOLVED), max_length=prompt)


def test_feedback_over_its_budget_takes_from_the_response_and_is_named_if_nothing_is_left(
    play, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for 60 tokens and the end of turn, which an ended response has already."""
    need = play(reply(WRONG), reply(SOLVED)).result["action_ranges"][0][1] + FEEDBACK + overhead(tokenizer) + 60

    def played(over: int) -> Played:
        monkeypatch.setattr(FullBudgetEnv, "feedback", lambda *_: filler("Failed. ") + "~" * over)
        return play(reply(WRONG), reply(SOLVED), max_length=need, max_tokens=60)

    for over, limit in ((1, 60), (21, 40), (60, 1)):
        assert [limit for _, limit, _ in played(over).engine.requests] == [60, limit]
    message = FEEDBACK + 61 + overhead(tokenizer) - 1
    with pytest.raises(
        ValueError, match=f"problem bb: feedback 1 of .*FullBudgetEnv, {message} tokens .* is over rlef.f"
    ):
        played(61)


def test_an_empty_generation_is_an_error(play, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would leave no run of ones in the action mask, and every later turn would move up by one."""
    empty = SimpleNamespace(token_ids=(), text="", finish_reason="abort", logprobs=[])
    monkeypatch.setattr(ScriptedEngine, "_output", lambda *_: empty)
    with pytest.raises(RuntimeError, match="no token for problem bb .finish reason abort"):
        play(reply(SOLVED))


# --- rewards, verdicts, logs

OUTCOMES = {
    "solved at once": ([SOLVED], [1.0, 0.0, 0.0], [0, -1, -1], 1, 1),
    "passed in public only": ([PUBLIC_ONLY], [-1.0, 0.0, 0.0], [1, -1, -1], 0, 1),
    "solved at last": ([WRONG, SLOW, SOLVED], [0.0, 0.0, 1.0], [1, 3, 0], 1, 1),
    "invalid, then solved": ([NO_CODE, SOLVED], [-0.2, 1.0, 0.0], [6, 0, -1], 1, 1),
    "turn limit": ([WRONG, WRONG, SLOW], [0.0, 0.0, -1.0], [1, 1, 3], 0, 0),
    "invalid three times": ([NO_CODE, NO_CODE, NO_CODE], [-0.2, -0.2, -1.0], [6, 6, 6], 0, 0),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_rewards_and_logs(play, name: str) -> None:
    kinds, rewards, verdicts, solved, public = OUTCOMES[name]
    played = play(*map(reply, kinds))
    result, logs = played.result, played.logs
    assert set(logs) == LOGS
    assert (logs["turn_rewards"], logs["turn_verdicts"]) == (rewards, verdicts)
    assert (logs["solved"], logs["public_passed"], logs["turns"]) == (solved, public, len(kinds))
    assert result["reward"] == pytest.approx(sum(rewards), abs=1e-12)
    assert result["scores"] == solved
    assert (result["prompt"], result["label"], result["images"]) == ("the prompt", "bb", None)
    numbers = [value for value in logs.values() if not isinstance(value, list)]
    numbers += [*logs["turn_rewards"], *logs["turn_verdicts"]]
    assert {type(value) for value in numbers} == {float}  # or torch would make integers of some samples and not others
    assert logs["judge_s"] >= 0 and logs["generate_s"] >= 0
    assert len(played.engine.requests) == len(kinds)  # early stop: nothing is generated after the end


def test_checker_errors_and_killed_tests_of_all_turns_are_logged() -> None:
    def step(**counts: int) -> Step:
        return Step("", -1.0, True, Verdict.WRONG_OUTPUT, False, False, 0.0, "code", **counts)

    from rlef_plugin.openrlhf_ext.executor import Episode

    episode = Episode([], steps=[step(checker_errors=2), step(), step(checker_errors=1, killed=3)])
    logs = episode.logs(turn_limit=3)
    assert (logs["judge/checker_errors"], logs["judge/killed"]) == (3.0, 3.0)


def test_the_lists_follow_the_turn_limit(play) -> None:
    logs = play(reply(NO_CODE), reply(SOLVED), turn_limit=5).logs
    assert logs["turn_rewards"] == [-0.2, 1.0, 0.0, 0.0, 0.0]
    assert logs["turn_verdicts"] == [6, 0, -1, -1, -1]


def test_private_tests_are_run_for_the_last_response_only(play) -> None:
    assert play(reply(WRONG), reply(SOLVED)).judge.calls == [("public bb",), ("public bb",), ("SECRET bb",)]
    assert play(reply(WRONG), reply(WRONG), reply(WRONG)).judge.calls == [("public bb",)] * 3


# --- what must not be swallowed


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_broken_judge_raises_in_any_turn(play, before: int) -> None:
    with pytest.raises(SandboxError, match="nsjail is gone"):
        play(*[reply(WRONG)] * before, reply(BROKEN_JUDGE))


def test_an_unknown_problem_names_the_nearest(play) -> None:
    with pytest.raises(UnknownProblemError, match="'dddx' .* nearest id is 'dddd'"):
        play(reply(SOLVED), label="dddx")


def test_outside_of_a_run_it_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlef_plugin.openrlhf_ext.executor import RlefAgentExecutor

    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UsageError, match="RLEF_CONFIG is not set"):
        RlefAgentExecutor()
    assert VARIABLE not in os.environ


# --- many at once


def script(name: str, turn: int) -> str:
    kinds = [WRONG, NO_CODE, SLOW, SOLVED, PUBLIC_ONLY]
    return reply(kinds[(len(name) * 2 + turn * 3) % 5], padding=len(name) * turn)


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    """What depends on the clock left out."""
    record = result["record"]
    turns = [{key: value for key, value in turn.items() if not key.endswith("_s")} for turn in record["turns"]]
    logs = {**result["extra_logs"], "judge_s": 0, "generate_s": 0}
    return {**result, "extra_logs": logs, "record": {**record, "turns": turns}}


def test_forty_episodes_at_once_are_forty_episodes(players: Players, tokenizer: Any) -> None:
    labels = [NAMES[index % len(NAMES)] for index in range(40)]
    params = SimpleNamespace(max_tokens=60, logprobs=1, stop_token_ids=[])

    async def run(together: bool) -> list[dict[str, Any]]:
        executor, engine = players.executor(), ScriptedEngine(tokenizer, script)
        tasks = [executor.execute(f"p{i}", label, params, 2000, tokenizer, engine) for i, label in enumerate(labels)]
        results = await asyncio.gather(*tasks) if together else [await task for task in tasks]
        assert len(players.judges) == 1  # the first episodes arrive together and must not open a judge each
        turns = [(ids.count(engine.header) - 3) // 2 for ids, *_ in engine.requests]
        assert (turns == sorted(turns)) is False or not together  # episodes were interleaved
        return [without_times(result) for result in results]

    together, one_by_one = asyncio.run(run(True)), asyncio.run(run(False))
    assert together == one_by_one
    assert {result["extra_logs"]["turns"] for result in together} == {1.0, 2.0, 3.0}
    assert [result["label"] for result in together] == labels


def test_the_dialog_is_made_once(players: Players, tokenizer: Any) -> None:
    executor = players.executor()
    engine = ScriptedEngine(tokenizer, lambda *_: reply(SOLVED))
    params = SimpleNamespace(max_tokens=60, logprobs=1, stop_token_ids=[])

    async def two() -> tuple[Any, Any]:
        await executor.execute("p", "a", params, 2000, tokenizer, engine)
        first = executor.dialog
        await executor.execute("p", "bb", params, 2000, tokenizer, engine)
        return first, executor.dialog

    first, second = asyncio.run(two())
    assert first is second


def by_character(tokenizer: Any, text: str) -> list[int]:
    return [token for char in text for token in tokenizer.encode(char, add_special_tokens=False)]


def test_the_scripted_feedback_takes_its_budget_to_the_token(tokenizer: Any) -> None:
    env = FullBudgetEnv({}, ScriptedJudge(), EnvConfig(feedback_tokens=FEEDBACK), Dialog(tokenizer).count_tokens)
    assert count_tokens(env.feedback(problem("a"), None, None)) == FEEDBACK  # type: ignore[arg-type]
