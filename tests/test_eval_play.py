"""Playing what is missing, and what each response is sampled with."""

import asyncio
import json
import os
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from scripted_server import rows

from rlef_plugin import launcher, preflight
from rlef_plugin.config import RlefConfig
from rlef_plugin.env import EnvConfig
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import run
from rlef_plugin.evaluation.play import draws, engine_seed, missing, play_all
from rlef_plugin.evaluation.rollouts import Rollout, RolloutFolder, Turn
from rlef_plugin.evaluation.score import incomplete
from rlef_plugin.evaluation.settings import EvalSettings, read, sampling
from rlef_plugin.judge import JudgeConfig
from rlef_plugin.problems import build_store

SETTINGS = EvalSettings(model="m", config=RlefConfig())
TURN = Turn("accepted", True, 1.0, "x", 1, 0.0, 0.0, 0.0, 0.0)


class Gate:
    """A player whose episodes wait until three play at once, so that a bound of two would never end."""

    in_flight = 3

    def __init__(self) -> None:
        self.playing = self.most = 0
        self.all_here = asyncio.Event()

    async def play(self, problem_id: str, index: int) -> Rollout:
        self.playing += 1
        self.most = max(self.most, self.playing)
        if self.playing == self.in_flight:
            self.all_here.set()
        await asyncio.wait_for(self.all_here.wait(), 10)
        self.playing -= 1
        if problem_id == "broken":
            raise RuntimeError("the judge is broken")
        return Rollout(problem_id, index, True, (TURN,), ())

    async def close(self) -> None: ...


def test_as_many_episodes_as_the_player_can_use_and_each_once() -> None:
    keys = [(problem, index) for problem in "abc" for index in range(4)]
    ended: list[Rollout] = []
    player = Gate()
    asyncio.run(play_all(keys, player, ended.append))
    assert player.most == 3 and sorted((one.problem, one.index) for one in ended) == keys


def test_an_error_ends_it_as_itself() -> None:
    ended: list[Rollout] = []
    with pytest.raises(RuntimeError, match="the judge is broken"):
        asyncio.run(play_all([("a", 0), ("broken", 0), ("b", 0)], Gate(), ended.append))


def test_only_what_is_missing_is_played(tmp_path: Path) -> None:
    folder = RolloutFolder(tmp_path)
    folder.append(Rollout("a", 1, True, (TURN,), ()))
    assert missing(["a", "b"], 2, folder) == [("a", 0), ("b", 0), ("b", 1)]
    folder.close()


def test_every_response_has_a_seed_of_its_own_and_always_the_same() -> None:
    seeds = [seed for problem in "ab" for index in range(20) for _, seed in islice(draws(SETTINGS, problem, index), 3)]
    assert len(set(seeds)) == len(seeds)
    assert seeds[:3] == [seed for _, seed in islice(draws(SETTINGS, "a", 0), 3)]
    other = replace(SETTINGS, seed=1)
    assert next(draws(other, "a", 0)) != next(draws(SETTINGS, "a", 0))


def test_an_engine_never_starts_the_same_stream_twice() -> None:
    """Also not one of a session's other engines, whose seeds are the numbers that follow."""
    starts = [engine_seed(0, kept) for kept in range(1000)] + [engine_seed(1, 0)]
    assert len({start + engine for start in starts for engine in range(8)}) == 8 * len(starts)
    assert max(starts) + 8 < 2**32 and starts[0] == engine_seed(0, 0)


@pytest.mark.host
def test_engines_are_seeded_by_what_is_there_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlef_plugin.openrlhf_ext import engines

    seeds: list[int] = []
    monkeypatch.setattr(engines.ray, "cluster_resources", lambda: {"GPU": 1.0})
    monkeypatch.setattr(engines.vllm_engine, "RolloutRayActor", engines.vllm_engine.RolloutRayActor)
    monkeypatch.setattr(engines.vllm_engine, "create_vllm_engines", lambda **given: seeds.append(given["seed"]) or [])
    monkeypatch.setattr(engines.ray, "get", lambda asked: [])
    monkeypatch.setattr(launcher, "ray_running", lambda config: nullcontext())
    monkeypatch.setattr(run, "play_all", lambda keys, player, ended: asyncio.sleep(0))
    folder = RolloutFolder(tmp_path)
    for index in range(2):
        run._play(SETTINGS, [("a", index)], folder, Console(quiet=True))
        folder.append(Rollout("a", index, True, (TURN,), ()))
    folder.close()
    assert seeds == [engine_seed(0, 0), engine_seed(0, 1)]


@pytest.mark.host
def test_a_model_may_have_several_gpus_and_too_few_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlef_plugin.openrlhf_ext import engines

    asked: list[dict[str, object]] = []
    monkeypatch.setattr(engines.vllm_engine, "RolloutRayActor", engines.vllm_engine.RolloutRayActor)
    monkeypatch.setattr(engines.vllm_engine, "create_vllm_engines", lambda **given: asked.append(given) or [])
    monkeypatch.setattr(engines.ray, "get", lambda asked: [])
    monkeypatch.setattr(engines.ray, "cluster_resources", lambda: {"GPU": 8.0})
    engines.EnginePlayer(replace(SETTINGS, engines=2, tensor_parallel=4))
    assert [(one["num_engines"], one["tensor_parallel_size"]) for one in asked] == [(2, 4)]
    with pytest.raises(UsageError, match="--engines 3 of --tensor-parallel 4 need 12 GPUs, but Ray has 8"):
        engines.EnginePlayer(replace(SETTINGS, engines=3, tensor_parallel=4))
    assert len(asked) == 1


@pytest.mark.host
def test_rollouts_of_one_problem_spread_over_the_engines_that_it_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 8 places an engine: 32 rollouts of a problem fill four engines, and 3 of another share one."""
    from rlef_plugin.openrlhf_ext import engines

    class Engine:
        def __init__(self) -> None:
            self.played: list[tuple[str, int]] = []
            self.play = SimpleNamespace(remote=self._play)
            self.get_num_unfinished_requests = SimpleNamespace(remote=int)

        async def _play(self, problem: str, index: int, settings: object) -> None:
            self.played.append((problem, index))
            await asyncio.sleep(0)

    monkeypatch.setattr(engines.vllm_engine, "RolloutRayActor", engines.vllm_engine.RolloutRayActor)
    monkeypatch.setattr(engines.vllm_engine, "create_vllm_engines", lambda **given: [Engine() for _ in range(4)])
    monkeypatch.setattr(engines.ray, "get", lambda asked: [])
    monkeypatch.setattr(engines.ray, "cluster_resources", lambda: {"GPU": 8.0})
    player = engines.EnginePlayer(replace(SETTINGS, engines=4, in_flight=8))

    async def play_all(problem: str, count: int) -> None:
        await asyncio.gather(*(player.play(problem, index) for index in range(count)))

    asyncio.run(play_all("a", 32))
    assert [len(engine.played) for engine in player.engines] == [8, 8, 8, 8]
    asyncio.run(play_all("b", 3))
    assert sorted(len(engine.played) for engine in player.engines) == [8, 8, 8, 11]


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"episode": {}}', '{"episode": 3}'])
def test_damaged_settings_are_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "eval.json").write_text(text)
    with pytest.raises(UsageError, match="eval.json is damaged .*: bring it back, or evaluate into another folder"):
        read(tmp_path)


def test_a_model_that_is_not_there_is_told_by_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(SETTINGS, model=str(tmp_path / "nope"), config=RlefConfig(stores=(str(tmp_path / "store"),)))
    build_store(rows(), tmp_path / "store")
    monkeypatch.setattr(preflight, "check_versions", lambda: None)
    monkeypatch.setattr(preflight, "check_sandbox", lambda config: None)
    with pytest.raises(UsageError, match=f"--model='{tmp_path}/nope' does not exist: name a model folder"):
        run._check(missing)


def test_temperatures_are_drawn_uniformly_between_two() -> None:
    mining = replace(SETTINGS, temperature=0.1, temperature_to=1.0)
    drawn = [next(draws(mining, "a", index))[0] for index in range(4000)]
    assert min(drawn) >= 0.1 and max(drawn) <= 1.0
    quarters = [sum(0.1 + 0.225 * n <= t < 0.1 + 0.225 * (n + 1) for t in drawn) / 4000 for n in range(4)]
    assert quarters == pytest.approx([0.25] * 4, abs=0.03)  # 4 standard errors
    assert {next(draws(SETTINGS, "a", index))[0] for index in range(9)} == {0.2}


def test_presets_are_the_papers_and_what_was_given_comes_first() -> None:
    given = {"rollouts": None, "temperature": None, "top_p": None}
    assert sampling("10@100", given) == {"temperature": 1.0, "top_p": 0.95, "rollouts": 200}
    assert sampling("10@100", {**given, "rollouts": 8})["rollouts"] == 8
    assert sampling("", {**given, "temperature": 0.0}) == {"temperature": 0.0}
    with pytest.raises(UsageError, match="choose one of 1@3, 10@100"):
        sampling("1@5", given)


def test_a_resume_compares_the_judge_and_the_contents_of_files(tmp_path: Path) -> None:
    examples = tmp_path / "sft.jsonl"
    examples.write_text("{}\n")
    first = replace(SETTINGS, config=RlefConfig(episode=EnvConfig(few_shot=str(examples))))
    first.write(tmp_path / "out", {}, 3)
    first.check(tmp_path / "out", {})
    lenient = replace(first, config=replace(first.config, judge=JudgeConfig(strict_exit=False)))
    with pytest.raises(UsageError, match="strict_exit=True, not False"):
        lenient.check(tmp_path / "out", {})
    examples.write_text('{"other": 1}\n')
    with pytest.raises(UsageError, match="few_shot_digest="):
        first.check(tmp_path / "out", {})
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    worded = replace(SETTINGS, config=RlefConfig(episode=EnvConfig(prompts=str(prompts))))
    before = worded.identity()
    (prompts / "first_message.txt").write_text("$description")
    assert worded.identity() != before


def local_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("name, contents", [("config.json", "{ }"), ("model.safetensors", "weight"), ("b.bin", "")])
def test_a_resume_with_other_weights_in_the_same_folder_is_refused(tmp_path: Path, name: str, contents: str) -> None:
    chosen = replace(SETTINGS, model=str(local_model(tmp_path / "model")))
    chosen.write(tmp_path / "out", {}, 3)
    (tmp_path / "model" / "README.md").write_text("no weights")
    chosen.check(tmp_path / "out", {})
    (tmp_path / "model" / name).write_text(contents)
    with pytest.raises(UsageError, match="model_digest="):
        chosen.check(tmp_path / "out", {})


def test_weights_that_were_written_again_are_others(tmp_path: Path) -> None:
    chosen = replace(SETTINGS, model=str(local_model(tmp_path / "model")))
    chosen.write(tmp_path / "out", {}, 3)
    os.utime(tmp_path / "model" / "model.safetensors", (1, 1))
    with pytest.raises(UsageError, match="model_digest="):
        chosen.check(tmp_path / "out", {})


def test_a_local_model_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`model` here and `model` there are two; a folder's absolute path is one, wherever the evaluation is moved."""
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        local_model(tmp_path / place / "model")
    monkeypatch.chdir(tmp_path / "here")
    relative = replace(SETTINGS, model="model")
    relative.write(tmp_path / "out", {}, 3)
    (tmp_path / "out").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UsageError, match=f"model='{tmp_path}/here/model', not '{tmp_path}/there/model'"):
        relative.check(tmp_path / "moved", {})
    replace(SETTINGS, model=str(tmp_path / "here" / "model")).check(tmp_path / "moved", {})


def test_hub_and_server_names_stay_as_they_are(tmp_path: Path) -> None:
    folder = str(local_model(tmp_path / "model"))
    for chosen in (replace(SETTINGS, model="org/name"), replace(SETTINGS, model=folder, url="http://there/v1")):
        kept = chosen.identity()
        assert (kept["model"], kept["model_digest"]) == (chosen.model, "")


def test_an_older_evaluation_of_a_local_model_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    chosen = replace(SETTINGS, model="model")
    chosen.write(tmp_path / "out", {}, 3)
    older = {key: value for key, value in read(tmp_path / "out").items() if key != "model_digest"}
    (tmp_path / "out" / "eval.json").write_text(json.dumps({**older, "model": "model"}))
    chosen.check(tmp_path / "out", {})


def test_a_resume_compares_the_jail_where_it_is_known(tmp_path: Path) -> None:
    SETTINGS.write(tmp_path, {}, 3)
    changed = replace(SETTINGS, config=RlefConfig(judge=JudgeConfig(unsafe_no_jail=True)))
    with pytest.raises(UsageError, match="unsafe_no_jail=False, not True"):
        changed.check(tmp_path, {})
    older = {key: value for key, value in read(tmp_path).items() if key != "unsafe_no_jail"}
    (tmp_path / "eval.json").write_text(json.dumps(older))
    changed.check(tmp_path, {})


def test_an_evaluation_says_that_it_is_incomplete() -> None:
    rollouts = [
        Rollout(problem, index, True, (TURN,), ()) for problem, count in (("a", 5), ("b", 2)) for index in range(count)
    ]
    assert incomplete(rollouts, {}) == incomplete(rollouts, {"asked": {"problems": 1, "rollouts": 5}}) == ""
    assert incomplete(rollouts, {"asked": {"problems": 2, "rollouts": 3}}).startswith("Incomplete: 5 of 6 rollouts")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"rollouts": 0}, "rollouts is 0"),
        ({"problems": -3}, "problems is -3, but must be at least 0"),
        ({"tensor_parallel": 2, "config": RlefConfig(cpu_host=True)}, "tensor_parallel=2 on the CPU host"),
        ({"top_p": 0.0}, "must be in"),
        ({"temperature": -0.1}, "must be finite and not negative"),
        ({"temperature": 0.5, "temperature_to": 0.1}, "no less than temperature=0.5"),
        ({"temperature": float("inf")}, "must be finite and not negative"),
        ({"temperature_to": float("nan")}, "temperature_to=nan must be finite"),
    ],
)
def test_refuses_settings_that_mean_nothing(change: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(SETTINGS, **change)  # type: ignore[arg-type]
