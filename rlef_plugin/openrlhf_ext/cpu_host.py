"""The CPU host: OpenRLHF's own Ray + vLLM + DeepSpeed stack on a machine without a GPU.

For trying the plugin out and for testing it; never chosen silently (recipe key `rlef.cpu_host`), and it says so at
start-up. Nothing of the training loop is replaced: the host's trainer, actors, losses, DeepSpeed engine and vLLM
engine all run. What is replaced is only what names a CUDA device or a CUDA library:

    openrlhf.models.ring_attn_utils          imports flash_attn: a stand-in is importable while that module loads
    torch.cuda                               current_device is "cpu"; synchronize, set_device, empty_cache do nothing
    openrlhf.utils.utils, .deepspeed         float32 instead of bfloat16, see below; dynamic batches without packing,
                                             which the host turns on with them: micro-batches are padded instead
    openrlhf.utils.deepspeed.deepspeed       the device mesh and the EMA's device are "cpu" instead of "cuda"
    ...ppo_utils.replay_buffer               its torch.device("cuda:...") is the CPU
    openrlhf.utils.distributed_util          weights travel over vLLM's StatelessProcessGroup instead of NCCL
    vllm.engine.arg_utils                    float32 as well
    openrlhf.trainer.ray.vllm_worker_wrap    weights are collected and loaded at the last one (see `update_weight`)

Models compute in float32, which the host offers no flag for: a CPU without bfloat16 units multiplies matrices 28 times
slower in bfloat16 (a step of the demo took 40 s).

Each is replaced right after the module in question is imported, so a process that never imports the host pays
nothing. Ray's workers get here through `worker_process_setup_hook` (`setup_worker`), vLLM's own worker processes
through the entry point group `vllm.general_plugins` (`setup_vllm`).

Not promised: speed, flash attention, packing, sleep mode, CUDA IPC, tensor parallelism.
"""

import os
import sys
import types
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

ENABLED_VARIABLE = "RLEF_CPU_HOST"
RAY_RESOURCES = {"num_gpus": 8, "num_cpus": 16}  # logical: the host's placement groups ask for one of each an actor
ENVIRONMENT = {
    ENABLED_VARIABLE: "1",
    "DS_ACCELERATOR": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # no worker process beside the engine: it spins between steps
    "OMP_NUM_THREADS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
WEIGHTS_KEPT_S = 300  # by the sender after a broadcast; the host waits until every engine has them
REQUIRED_FLAGS = {
    "ds.attn_implementation": "eager",
    "vllm.enforce_eager": True,
    "vllm.sync_backend": "gloo",
    "vllm.sync_with_ray": False,
    "vllm.enable_sleep": False,
    "ds.enable_sleep": False,
    "ds.packing_samples": False,
    "ds.ring_attn_size": 1,
    "ds.tensor_parallel_size": 1,
    "ds.adam_offload": False,
}


def setup_worker() -> None:
    """Prepare this Ray worker; imports nothing of the host (an import of it costs 15 s)."""
    if not any(isinstance(finder, _PatchOnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PatchOnImport(_PATCHES))


def setup_vllm() -> None:
    """Entry point for vLLM's processes; does nothing unless the launcher asked for the CPU host."""
    if os.environ.get(ENABLED_VARIABLE) == "1":
        setup_worker()


class _PatchOnImport(MetaPathFinder):
    """Runs a patch on each named module right after it was executed."""

    def __init__(self, patches: dict[str, Callable[[Any], None]]) -> None:
        self.patches = patches

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in self.patches:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _PatchingLoader(spec.loader, self.patches[fullname])
        return spec


class _PatchingLoader(Loader):
    def __init__(self, loader: Any, patch: Callable[[Any], None]) -> None:
        self.loader = loader
        self.patch = patch

    def __getattr__(self, name: str) -> Any:  # is_package, get_source, resource readers: the real loader's
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        with _FlashAttentionStandIn(wanted=module.__name__ == "openrlhf.models.ring_attn_utils"):
            self.loader.exec_module(module)
        self.patch(module)


class _FlashAttentionStandIn:
    """Makes `flash_attn`'s names importable for the time one module needs them, and for nobody else."""

    NAMES = {
        "flash_attn": (),
        "flash_attn.bert_padding": ("index_first_axis", "pad_input", "rearrange", "unpad_input"),
        "flash_attn.utils": (),
        "flash_attn.utils.distributed": ("all_gather",),
    }

    def __init__(self, wanted: bool) -> None:
        self.names = self.NAMES if wanted and "flash_attn" not in sys.modules else {}

    def __enter__(self) -> None:
        for name, functions in self.names.items():
            module = types.ModuleType(name)
            vars(module).update(dict.fromkeys(functions, _needs_flash_attention))
            sys.modules[name] = module

    def __exit__(self, *exception: object) -> None:
        for name in self.names:
            sys.modules.pop(name, None)


def _needs_flash_attention(*arguments: Any, **keywords: Any) -> Any:
    raise RuntimeError("the CPU host has no flash_attn: set ds.packing_samples=false and ds.ring_attn_size=1")


def _patch_cuda(cuda: Any) -> None:
    cuda.current_device = lambda: "cpu"
    cuda.current_stream = lambda *arguments: None
    for name in ("synchronize", "set_device", "empty_cache"):
        setattr(cuda, name, lambda *arguments, **keywords: None)


def _patch_utils(module: Any) -> None:
    import torch

    get_strategy = module.get_strategy

    def without_packing(args: Any) -> Any:
        args.ds.packing_samples, args.ds.attn_implementation = False, "eager"
        return get_strategy(args)

    module.get_strategy = without_packing
    module.convert_to_torch_dtype = lambda param_dtype: torch.float32


def _patch_engine_args(module: Any) -> None:
    init = module.AsyncEngineArgs.__init__
    module.AsyncEngineArgs.__init__ = lambda self, *arguments, **keywords: init(
        self, *arguments, **{**keywords, "dtype": "float32"}
    )


def _in_float32(ds_config: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return lambda *arguments, **keywords: {**ds_config(*arguments, **keywords), "bf16": {"enabled": False}}


def _patch_deepspeed_strategy(module: Any) -> None:
    module.get_train_ds_config = _in_float32(module.get_train_ds_config)
    module.get_eval_ds_config = _in_float32(module.get_eval_ds_config)
    init_device_mesh = module.init_device_mesh
    module.init_device_mesh = lambda device, *shape, **names: init_device_mesh("cpu", *shape, **names)
    moving_average = module.DeepspeedStrategy.moving_average
    module.DeepspeedStrategy.moving_average = lambda self, model, ema, beta=0.992, device="cpu": moving_average(
        self, model, ema, beta, "cpu"
    )


def _patch_replay_buffer(module: Any) -> None:
    torch = module.torch

    class CpuTorch(types.ModuleType):
        device = staticmethod(lambda name: torch.device("cpu"))

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    module.torch = CpuTorch("torch")


def _patch_distributed_util(module: Any) -> None:
    module.stateless_init_process_group = stateless_init_process_group


class _WeightGroup:
    """Trainer rank 0 to vLLM, over TCP: `broadcast` has the signature of the host's NCCL communicator.

    A weight is copied first: it is a view of DeepSpeed's buffer of all weights, which pickle would take whole.
    """

    def __init__(self, group: Any) -> None:
        self.group = group

    def broadcast(self, tensor: Any, src: int, stream: Any = None) -> None:
        received = self.group.broadcast_obj(tensor.detach().clone() if self.group.rank == src else None, src=src)
        if self.group.rank != src:
            tensor.copy_(received)


def stateless_init_process_group(
    master_address: str, master_port: int, rank: int, world_size: int, device: Any
) -> Any:
    from vllm.distributed.utils import StatelessProcessGroup

    group = StatelessProcessGroup.create(
        master_address, master_port, rank, world_size, data_expiration_seconds=WEIGHTS_KEPT_S
    )
    return _WeightGroup(group)


def _patch_worker_wrap(module: Any) -> None:
    module.WorkerWrap.update_weight = update_weight


def update_weight(self: Any, name: str, dtype: Any, shape: Any, empty_cache: bool = False) -> None:
    """Collect the parameters and load them together at the last one (`empty_cache`).

    vLLM's CPU backend repacks linear weights after loading, so a single weight cannot be written in place:
    `reload_weights` undoes the packing, loads and packs again.
    """
    import torch

    if dtype != self.model_config.dtype:
        raise TypeError(f"weight {name} arrives as {dtype}, vLLM holds {self.model_config.dtype}")
    weight = torch.empty(shape, dtype=dtype, device="cpu")
    self._model_update_group.broadcast(weight, src=0)
    self.__dict__.setdefault("_rlef_weights", {})[name] = weight
    if empty_cache:
        self.model_runner.reload_weights(weights_iterator=iter(self.__dict__.pop("_rlef_weights").items()))


_PATCHES: dict[str, Callable[[Any], None]] = {
    "torch.cuda": _patch_cuda,
    "openrlhf.models.ring_attn_utils": lambda module: None,
    "openrlhf.utils.utils": _patch_utils,
    "openrlhf.utils.deepspeed.deepspeed": _patch_deepspeed_strategy,
    "vllm.engine.arg_utils": _patch_engine_args,
    "openrlhf.trainer.ppo_utils.replay_buffer": _patch_replay_buffer,
    "openrlhf.utils.distributed_util": _patch_distributed_util,
    "openrlhf.trainer.ray.vllm_worker_wrap": _patch_worker_wrap,
}
