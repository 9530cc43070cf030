"""What can be found wrong in seconds, before a run that takes hours: versions, sandbox, model, context, disk.

Each check raises a UsageError with the value, the cause and the key or command to change; `rlef doctor` runs the
checks of the machine and shows them all at once.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from rlef_plugin.config import RlefConfig
from rlef_plugin.errors import UsageError

log = logging.getLogger("rlef")

USED = (("data.prompt_dataset", "data.prompt_split"), ("eval.dataset", "eval.split"))  # stores and splits of a run


def check_versions() -> None:
    from rlef_plugin.versions import version_checks

    bad = next((check for check in version_checks() if not check.ok), None)
    if bad:
        raise UsageError(f"{bad.name}: {bad.detail}; {bad.fix}")


def check_sandbox(config: RlefConfig) -> None:
    """Judge right and wrong programs, and compare the verdicts; other nodes do so when Ray runs (judge/remote.py)."""
    if config.judge.backend == "ray":
        return
    from rlef_plugin.judge import SandboxError, check_here

    try:
        asyncio.run(check_here(config.judge))
    except SandboxError as error:
        raise UsageError(f"programs cannot be judged here: {error}") from None


def check_environment(config: RlefConfig) -> None:
    """That the class can be imported, and that the files it is to read are there and whole."""
    from rlef_plugin.env import load_environment
    from rlef_plugin.env.few_shot import check_examples
    from rlef_plugin.env.templates import load_prompts

    load_environment(config.env)
    load_prompts(config.episode.prompts)
    if config.episode.few_shot:
        check_examples(config.episode.few_shot)


def check_feedback(config: RlefConfig, arguments: dict[str, Any]) -> None:
    """With random feedback, that each split trained or evaluated on has incorrect programs to run."""
    from rlef_plugin.env.modes import check_solutions
    from rlef_plugin.problems import ProblemStores

    if config.episode.feedback != "random":
        return
    stores = ProblemStores.open(config.stores)
    for _, split in _used(arguments):
        check_solutions(stores, split)


def warn_of_overlap(arguments: dict[str, Any]) -> None:
    """Problems that are trained and evaluated on, under whatever id and with whatever tests and limits."""
    from rlef_plugin.problems import ProblemStore

    used = [(ProblemStore.open(path), split) for path, split in _used(arguments)]
    if len(used) < len(USED):
        return
    trained, evaluated = (store.statements(split) for store, split in used)
    if shared := [id_ for asked, id_ in evaluated.items() if asked in trained]:
        log.warning(
            "%d of %d problems of eval.split=%s are trained on too, such as %r: their solve rate says nothing about "
            "other problems", len(shared), len(evaluated), arguments["eval.split"], shared[0],
        )  # fmt: skip


def check_context(config: RlefConfig, arguments: dict[str, Any]) -> None:
    """The tokenizer's chat template, and that episodes of the problems in use fit the context, and it the model.

    Used are the splits that `arguments` names; where it names no store, all.
    """
    from rlef_plugin.env import Dialog, check_fits, load_environment
    from rlef_plugin.problems import ProblemStores

    stores = ProblemStores.open(config.stores)
    model = arguments["actor.model_name_or_path"]
    dialog = Dialog(_tokenizer(model))
    _check_positions(model, arguments["data.max_len"])
    environment = load_environment(config.env)
    env = environment(stores, _NoJudge(), config.episode, dialog.count_tokens)
    lengths, prefill = asyncio.run(_prompt_lengths(env, dialog, _used_ids(arguments) or list(stores)))
    response = arguments["rollout.max_new_tokens"] or 1
    check_fits(
        prompt_tokens=min(lengths.values()),
        turn_limit=config.episode.turn_limit,
        max_new_tokens=response,
        feedback_tokens=config.episode.feedback_tokens,
        overhead=dialog.closing_overhead(prefill),
        max_len=arguments["data.max_len"],
    )
    longest = max(lengths, key=lambda problem_id: lengths[problem_id])
    room = arguments["data.max_len"] - response
    if lengths[longest] > room:
        too_long = sum(length > room for length in lengths.values())
        raise UsageError(
            f"the prompts of {too_long} of {len(lengths)} problems leave less than rollout.max_new_tokens="
            f"{arguments['rollout.max_new_tokens']} for a response in data.max_len={arguments['data.max_len']} "
            f"(problem {longest!r} has {lengths[longest]} tokens): raise data.max_len or leave them out of the store"
        )


def check_folders(config: RlefConfig, arguments: dict[str, Any]) -> None:
    """That what is trained can be kept; a disk that is too small for it is told."""
    from rlef_plugin import room

    keys = ("ckpt.output_dir", *(["ckpt.path"] if room.most_kept(arguments) else []))
    room.check_written({**{key: arguments[key] for key in keys}, "rlef.run_dir": config.run_dir})
    if (parameters := _parameters(arguments["actor.model_name_or_path"])) is not None:
        room.warn_of_room(arguments, parameters)


def _parameters(model: str) -> int | None:
    """How many a model has, by its config.json; no weights are read. None where its code does not tell."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = _loaded(AutoConfig, model, "config.json")
    try:
        with torch.device("meta"):
            return int(AutoModelForCausalLM.from_config(config, trust_remote_code=True).num_parameters())
    except Exception as error:  # a model may bring code of its own, and this is for a warning only
        log.info("the size of %s is not known, so not whether disks have room: %s", model, error)
        return None


def _tokenizer(model: str | None) -> Any:
    if not model:
        raise UsageError("actor.model_name_or_path is not set: name a model folder or hub id")
    from transformers import AutoTokenizer

    return _loaded(AutoTokenizer, model, "tokenizer")


def _check_positions(model: str, max_len: int) -> None:
    """vLLM refuses a context that the model has no positions for, minutes later. What stretches them is left to it."""
    from transformers import AutoConfig

    config = _loaded(AutoConfig, model, "config.json").get_text_config()
    positions, rope = getattr(config, "max_position_embeddings", None), getattr(config, "rope_parameters", None) or {}
    kinds = [one for one in rope.values() if isinstance(one, dict)] or [rope]  # one for each kind of layer, or for all
    if positions and max_len > positions and all(kind.get("factor") is None for kind in kinds):
        raise UsageError(
            f"data.max_len={max_len} is more than the {positions} positions of actor.model_name_or_path={model!r}: "
            f"set data.max_len={positions} or choose a model with a longer context"
        )


def _loaded(cls: Any, model: str, what: str) -> Any:
    if model.startswith((".", "/", "~")) and not Path(model).expanduser().exists():  # no hub id either
        raise UsageError(f"actor.model_name_or_path={model!r} does not exist: name a model folder or hub id")
    try:
        return cls.from_pretrained(model, trust_remote_code=True)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise UsageError(f"actor.model_name_or_path={model!r} has no {what} that loads: {first_line}") from None


def _used(arguments: dict[str, Any]) -> list[tuple[str, str]]:
    """(store, split) of what is trained and, if anything, evaluated on."""
    return [(arguments[dataset], arguments[split]) for dataset, split in USED if arguments.get(dataset)]


def _used_ids(arguments: dict[str, Any]) -> list[str]:
    from rlef_plugin.problems import ProblemStore

    return list(dict.fromkeys(id_ for path, split in _used(arguments) for id_ in ProblemStore.open(path).ids(split)))


async def _prompt_lengths(env: Any, dialog: Any, ids: list[str]) -> tuple[dict[str, int], str]:
    """(tokens of every problem's first prompt, the longest text that opens a response); seconds for thousands."""
    log.info("counting the tokens of %d prompts", len(ids))
    messages = {problem_id: (await env.reset(problem_id), env.prefill) for problem_id in ids}
    lengths = {key: len(dialog.prompt_tokens(message, prefill=start)) for key, (message, start) in messages.items()}
    return lengths, max((start for _, start in messages.values()), key=len)


class _NoJudge:
    """For an environment that only writes first messages."""

    async def judge(self, *arguments: Any, **keywords: Any) -> Any:
        raise AssertionError("the context check runs no program")

    run = judge

    async def close(self) -> None: ...
