"""Switches of the host that do not go together, each with the reason; read from its sources, OpenRLHF 0.11.2.

The host accepts all of these and fails later, minutes into a run or silently. What it refuses itself is not repeated.

`refuse_limits` needs the flags alone, `refuse_steps` also how many problems there are. Both hold micro-batches to what
`RayActorGroup.async_run_method_batch` does with them: it gives each data-parallel rank of a group ceil(n / ranks), in
order, so 6 over 4 ranks are 2, 2, 2, 0. Ranks with unlike shares wait for each other forever.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlef_plugin.checkpoints import WITH_CRITIC, latest, models_of
from rlef_plugin.errors import UsageError

ABOVE_ZERO = (  # numbers with which the host would train on nothing, divide by zero or stop hours later
    *("train.num_episodes", "train.max_epochs", "train.batch_size", "train.micro_batch_size"),
    *("rollout.batch_size", "rollout.micro_batch_size", "rollout.n_samples_per_prompt", "rollout.max_new_tokens"),
    *("rollout.temperature", "rollout.top_p", "data.max_len", "data.max_samples", "eval.n_samples_per_prompt"),
    *("ds.ring_attn_size", "ds.tensor_parallel_size"),
)
NOT_NEGATIVE = ("eval.temperature", "algo.kl.init_coef", "actor.adam.lr", "critic.adam.lr")


def _checkpoint(arguments: dict[str, Any]) -> str | None:
    return latest(Path(arguments["ckpt.path"]), models_of(arguments["algo.advantage.estimator"]))


LIMITS: tuple[tuple[Callable[[dict[str, Any]], bool], str], ...] = (
    (
        lambda a: a["ds.lora.rank"] > 0 and a["ds.zero_stage"] == 3,
        "ds.lora.rank={ds.lora.rank} with ds.zero_stage=3: vLLM needs weight and adapter added up, and ZeRO-3 holds "
        "neither of them whole; set ds.zero_stage=2",
    ),
    (
        lambda a: a["ds.lora.rank"] > 0 and a["ds.tensor_parallel_size"] > 1,
        "ds.lora.rank={ds.lora.rank} with ds.tensor_parallel_size={ds.tensor_parallel_size}: vLLM would be sent one "
        "rank's part of weight and adapter as if it were the whole; set ds.tensor_parallel_size=1",
    ),
    (
        lambda a: a["ds.param_dtype"] == "fp16",
        "ds.param_dtype=fp16: the host's vLLM engines hold bfloat16 and refuse other weights after the first update; "
        "set ds.param_dtype=bf16",
    ),
    (
        lambda a: not (a["vllm.num_engines"] or 0) > 0,
        "vllm.num_engines={vllm.num_engines}: episodes are played by vLLM engines, and the host would find out after "
        "all models are loaded; set it to 1 or more",
    ),
    (
        lambda a: a["ds.load_in_4bit"],
        "ds.load_in_4bit: the host sends vLLM the packed 4-bit weights, which do not fit its layers; drop it",
    ),
    (
        lambda a: a["train.enable_ema"] and a["ds.lora.rank"] > 0,
        "train.enable_ema with ds.lora.rank={ds.lora.rank}: the host's moving average is made without adapters, so it "
        "would average other weights with these; drop either",
    ),
    (
        lambda a: a["train.enable_ema"] and a["ckpt.load_enable"] and _checkpoint(a) is not None,
        "train.enable_ema with a checkpoint in ckpt.path={ckpt.path}: the host's checkpoints do not hold the moving "
        "average, which would start again from the first policy; drop train.enable_ema or start in another ckpt.path",
    ),
    (
        lambda a: a["ckpt.save_steps"] > 0 and a["ckpt.max_num"] < 2,
        "ckpt.max_num={ckpt.max_num}: the host deletes the old checkpoint before it writes the new one, so a run "
        "killed in between could not go on; set ckpt.max_num to 2 or more",
    ),
    (
        lambda a: (a["rollout.vllm_generate_batch_size"] or math.inf) < a["rollout.batch_size"],
        "rollout.vllm_generate_batch_size={rollout.vllm_generate_batch_size} with "
        "rollout.batch_size={rollout.batch_size}: every step would train on the fewer of both; drop it",
    ),
    (
        lambda a: a["algo.kl.target"] is not None,
        "algo.kl.target={algo.kl.target}: an adaptive KL coefficient does not fit the host's trainer, its code says, "
        "and no checkpoint keeps it; drop it and choose algo.kl.init_coef",
    ),
    (
        lambda a: (
            a["algo.kl.use_loss"] and not a["algo.kl.unbiased_gradient"] and a["algo.kl.estimator"] not in ("k2", "k3")
        ),
        "algo.kl.use_loss=True with algo.kl.estimator={algo.kl.estimator}: the loss would be k1, whose expected "
        "gradient is 0 while the policy is the one that sampled; set algo.kl.estimator to k2 or k3, or "
        "algo.kl.unbiased_gradient=true",
    ),
)


def refuse_numbers(arguments: dict[str, Any]) -> None:
    """Raises a UsageError for the first number that is out of its range; `arguments` are the host's, flat."""
    for key in (*ABOVE_ZERO, *NOT_NEGATIVE):
        value, least = arguments[key], "greater than 0" if key in ABOVE_ZERO else "at least 0"
        if value is not None and not (value > 0 or (value == 0 and key in NOT_NEGATIVE)):
            raise UsageError(f"{key} is {value}, but it must be {least}")


def refuse_limits(arguments: dict[str, Any]) -> None:
    """Raises a UsageError for the first limit these flags meet; `arguments` are the host's, flat."""
    for met, sentence in LIMITS:
        if met(arguments):
            for key, value in arguments.items():
                sentence = sentence.replace(f"{{{key}}}", str(value))
            raise UsageError(sentence)
    for group, ranks in _groups(arguments).items():
        _refuse_uneven_update(arguments, group, ranks)
        rollouts = arguments["rollout.batch_size"] * arguments["rollout.n_samples_per_prompt"]
        _refuse_uneven_step(arguments, group, ranks, rollouts, "a step")


def trained_together(update: int, samples: int, estimator: str) -> int:
    """Rollouts that a step has some multiple of: whole updates, and whole groups for the host's baselines."""
    return update if estimator == "turn" else math.lcm(update, samples)


def refuse_steps(arguments: dict[str, Any], problems: int) -> None:
    """Raises a UsageError if a pass over so many problems trains on nothing, or ends with a step that would hang."""
    problems = min(problems, int(arguments["data.max_samples"]))
    samples, update = arguments["rollout.n_samples_per_prompt"], arguments["train.batch_size"]
    whole = trained_together(update, samples, arguments["algo.advantage.estimator"])
    last = problems % arguments["rollout.batch_size"] * samples
    if problems < arguments["rollout.batch_size"] and last < whole:
        raise UsageError(
            f"data.prompt_dataset has {problems} problems, whose {last} rollouts are fewer than one update's "
            f"{whole} (train.batch_size={update}), so nothing would be trained: lower train.batch_size or add problems"
        )
    # Dynamic filtering runs out of problems at any number of rollouts, so there the shortest step decides.
    shortest = whole if arguments["algo.dynamic_filtering_enable"] else last - last % whole
    for group, ranks in _groups(arguments).items():
        _refuse_uneven_step(arguments, group, ranks, shortest, f"the last step of a pass over {problems} problems")


def gpus_needed(arguments: dict[str, Any]) -> dict[str, int]:
    """GPUs that the host's CLI asks Ray for, by what they are for; it waits without end for those that never come."""
    engines = arguments["vllm.num_engines"] * arguments["vllm.tensor_parallel_size"]
    together = arguments["train.colocate_all"]
    shared = {"ref", "critic"} if together else {"ref"} if arguments["train.colocate_actor_ref"] else set()
    needed = {group: gpus for group, gpus in _gpus(arguments).items() if group not in shared}
    return needed if together and not arguments["train.async_enable"] else {**needed, "vllm": engines}


def _gpus(arguments: dict[str, Any]) -> dict[str, int]:
    """GPUs of each model there is."""
    used = {
        "actor": True,
        "critic": arguments["algo.advantage.estimator"] in WITH_CRITIC,
        "ref": arguments["algo.kl.init_coef"] > 0,
    }
    return {
        group: arguments[f"{group}.num_nodes"] * arguments[f"{group}.num_gpus_per_node"]
        for group, is_used in used.items()
        if is_used
    }


def _groups(arguments: dict[str, Any]) -> dict[str, int]:
    """Data-parallel ranks of each model there is: groups of GPUs that see other rollouts than the others."""
    a_rank = arguments["ds.ring_attn_size"] * arguments["ds.tensor_parallel_size"]  # GPUs
    return {group: gpus // a_rank for group, gpus in _gpus(arguments).items()}


def _refuse_uneven_update(arguments: dict[str, Any], group: str, ranks: int) -> None:
    """DeepSpeed wants the same whole number of micro-batches an update from every rank."""
    update, micro = arguments["train.batch_size"], arguments["train.micro_batch_size"]
    if not ranks or update % (micro * ranks):
        raise UsageError(
            f"train.batch_size={update} is no multiple of train.micro_batch_size={micro} x {ranks} data-parallel "
            f"ranks of {group}: change either, {group}.num_nodes or num_gpus_per_node, or ds.ring_attn_size"
        )


def _refuse_uneven_step(arguments: dict[str, Any], group: str, ranks: int, rollouts: int, step: str) -> None:
    """A step's micro-batches, the last of them full, must come out even; one rank takes what there is."""
    if arguments["train.dynamic_batch_enable"]:
        policy = _groups(arguments)["actor"]  # the host makes a multiple of as many micro-batches
        if policy % ranks:
            raise UsageError(
                f"train.dynamic_batch_enable=True with {policy} data-parallel ranks of actor and {ranks} of {group}: "
                f"the host shares out by actor's alone; give both the same"
            )
    elif ranks > 1 and rollouts % (arguments["rollout.micro_batch_size"] * ranks):
        raise UsageError(
            f"{step} has {rollouts} rollouts, no multiple of rollout.micro_batch_size="
            f"{arguments['rollout.micro_batch_size']} x {ranks} data-parallel ranks of {group}, which would wait for "
            "each other forever: lower rollout.micro_batch_size"
        )
