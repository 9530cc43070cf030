"""The policy's actor: updates that can be repeated, and LoRA whose merged weights reach vLLM.

The host shuffles each update's rollouts with whatever state torch's generator happens to have, which no checkpoint
keeps. `seed_update` makes it a function of the seed and of the number of updates, which DeepSpeed's checkpoints keep,
so a run that was killed and started again shuffles as an undisturbed one.

The host sends a model's parameters to vLLM by name, and with LoRA those are the frozen weights and the adapters, under
names vLLM does not know. `Merged` sends what the model computes with instead: weight + adapter, under the weight's
name, added up anew each time, so that no rounding collects in the frozen weights. Not for ZeRO-3 (refused at launch).
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
import torch
from openrlhf.trainer.ray.ppo_actor import PolicyModelActor

from rlef_plugin import checkpoints
from rlef_plugin.openrlhf_ext.remote import original_class


def seed_update(strategy: Any, engine: Any) -> None:
    """Seed torch for the next update of a DeepSpeed engine; another seed in every rank and update."""
    seed = strategy.seed * 1_000_003 + engine.global_steps * strategy.world_size + strategy.get_rank()
    torch.manual_seed(seed)


def begin_checkpoint(strategy: Any, model: str, tag: str) -> None:
    """Before the host's own barrier, so before any rank writes: see `checkpoints.begin`."""
    if strategy.is_rank_0():
        checkpoints.begin(Path(strategy.args.ckpt.path), model, tag)


class Policy(original_class(PolicyModelActor)):  # type: ignore[misc]
    def fit(self, kl_ctl: float = 0) -> Any:
        seed_update(self.strategy, self.actor.model)
        return super().fit(kl_ctl)

    def forget_rollouts(self) -> None:
        """Drop what was appended for an update that is not made."""
        self.trainer.replay_buffer.clear()

    def save_checkpoint(self, tag: str, *arguments: Any, **keywords: Any) -> None:
        begin_checkpoint(self.strategy, "_actor", tag)
        super().save_checkpoint(tag, *arguments, **keywords)
        if self.save_hf_ckpt and not self.disable_ds_ckpt and self.strategy.is_rank_0():
            checkpoints.drop_old_models(Path(self.strategy.args.ckpt.path))

    def broadcast_to_vllm(self) -> None:
        if self.strategy.args.ds.lora.rank == 0:
            return super().broadcast_to_vllm()
        policy = self.trainer.actor
        merged = SimpleNamespace(named_parameters=lambda: merged_parameters(policy.model.module))
        self.trainer.actor = SimpleNamespace(model=SimpleNamespace(module=merged))
        try:
            super().broadcast_to_vllm()
        finally:
            self.trainer.actor = policy


def merged_parameters(adapted: Any) -> Iterator[tuple[str, Any]]:
    """(name in the model without adapters, parameter) of a `PeftModel`."""
    model = adapted.get_base_model()
    adapters = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    for name, parameter in model.named_parameters():
        owner, _, of_adapter = name.partition(".lora_")
        if of_adapter:
            continue
        owner, base, last = name.rpartition(".base_layer.")
        if not base:
            yield name, parameter
        else:
            yield f"{owner}.{last}", Merged(parameter, adapters[owner]) if last == "weight" else parameter


class Merged:
    """Stands for a parameter where the host broadcasts it; its data is added up when it is asked for."""

    requires_grad = True

    def __init__(self, weight: torch.Tensor, layer: Any) -> None:
        self.weight, self.layer = weight, layer
        self.shape, self.dtype = weight.shape, weight.dtype

    @property
    def data(self) -> torch.Tensor:
        with torch.no_grad():
            delta = sum(self.layer.get_delta_weight(adapter) for adapter in self.layer.active_adapters)
            return self.weight.data + delta.to(self.dtype)


PolicyActor = ray.remote(num_gpus=1)(Policy)
