"""Our classes and the CPU host's replacements, in place in the host, Ray and vLLM (in_host.py)."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from host_files import ACTOR, ASYNC, BUFFER, CLI, CRITIC, DEEPSPEED, DISTRIBUTED, ENGINE, MAKER, TRAINER, WORKER
from in_host import REPO, host, in_host, same, tiny_critic, unwrapped

from rlef_plugin import launcher
from rlef_plugin.openrlhf_ext import cpu_host, host_cli

pytestmark = pytest.mark.host


@in_host
def test_the_functions_we_replace_are_looked_up_as_globals_of_their_modules() -> None:
    from rlef_plugin.openrlhf_ext import trainer  # noqa: F401  # replaces them

    h = host()
    looked_up = [
        (TRAINER, h.ppo_trainer, h.ppo_trainer.BasePPOTrainer.__init__, "RemoteExperienceMaker"),
        (TRAINER, h.ppo_trainer, unwrapped(h.ppo_trainer.PPOTrainer).evaluate, "compute_eval_metrics"),
        (TRAINER, h.ppo_trainer, unwrapped(h.ppo_trainer.PPOTrainer).__init__, "prepare_datasets"),
        (ASYNC, h.ppo_trainer_async, h.ppo_trainer_async.PPOTrainerAsync, "TrainingActor"),
        (ASYNC, h.ppo_trainer_async, h.ppo_trainer_async.PPOTrainerAsync, "GenerateSamplesActor"),
        (MAKER, h.experience_maker, h.stock.ExperienceMaker.make_experience, "compute_approx_kl"),
        (TRAINER, h.ppo_trainer, unwrapped(h.ppo_trainer.PPOTrainer).__init__, "SamplesGenerator"),
        (ASYNC, h.ppo_trainer_async, unwrapped(h.ppo_trainer_async.GenerateSamplesActor).__init__, "SamplesGenerator"),
    ]
    for path, module, function, name in looked_up:
        function = unwrapped(function).__init__ if name.endswith("Actor") else inspect.unwrap(function)
        assert name in function.__code__.co_names, f"openrlhf/{path}: {function.__qualname__} does not use {name}"
        assert function.__globals__ is vars(module), f"openrlhf/{path}: {function.__qualname__} is of another module"
    generating = inspect.unwrap(unwrapped(h.ppo_trainer_async.GenerateSamplesActor)._run_eval)
    assert generating.__globals__["compute_eval_metrics"].__name__ == "solve_rates", f"openrlhf/{ASYNC}: not replaced"


@in_host
def test_after_install_the_cli_imports_our_classes() -> None:
    from rlef_plugin.openrlhf_ext import critic, experience, install, policy, trainer

    h = host()
    install()
    imports = [
        node for node in ast.walk(ast.parse(host_cli.host_file().read_text())) if isinstance(node, ast.ImportFrom)
    ]
    found: dict[str, Any] = {}
    for node in imports:
        if node.names[0].name in ("CriticModelActor", "PolicyModelActor", "PPOTrainer", "PPOTrainerAsync"):
            node.names[0].asname = None
            exec(compile(ast.Module([node], []), CLI, "exec"), found)
    assert found["CriticModelActor"] is critic.TurnCriticActor, f"openrlhf/{CLI} imports another critic"
    assert found["PolicyModelActor"] is policy.PolicyActor, f"openrlhf/{CLI} imports another policy"
    assert found["PPOTrainer"] is trainer.TrainerActor, f"openrlhf/{CLI} imports another trainer"
    assert found["PPOTrainerAsync"] is trainer.AsyncTrainerActor, f"openrlhf/{CLI} imports another async trainer"
    assert h.ppo_trainer.RemoteExperienceMaker is experience.TurnExperienceMaker, "the experience maker is the host's"


@in_host
def test_the_agent_file_is_loaded_by_path() -> None:
    load = host().vllm_engine._load_agent_executor
    executor = load(str(launcher.AGENT_FILE))
    assert type(executor).__name__ == "RlefAgentExecutor", f"openrlhf/{ENGINE} made {type(executor)}"
    assert list(executor.problems) == ["a", "bb", "ccc"], "the executor did not get its settings"
    other = Path(os.environ["WORK"], "no_agent.py")
    other.write_text("x = 1\n")
    try:
        load(str(other))
    except AssertionError as error:
        assert "AgentExecutor" in str(error), f"openrlhf/{ENGINE} refuses a file without AgentExecutor otherwise"
    else:
        raise AssertionError(f"openrlhf/{ENGINE} takes a file without AgentExecutor")


@in_host
def test_lora_weights_reach_vllm_as_the_model_without_adapters_names_them() -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlef_plugin.openrlhf_ext.policy import merged_parameters

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    plain = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    names = {name: parameter.shape for name, parameter in plain.named_parameters()}
    start = {name: parameter.clone() for name, parameter in plain.named_parameters()}
    adapted = get_peft_model(plain, LoraConfig(r=2, lora_alpha=8, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_B." in name:
                parameter.normal_()
    sent = {name: parameter.data.clone() for name, parameter in merged_parameters(adapted)}
    same("names and shapes", {name: data.shape for name, data in sent.items()}, names)
    ids = torch.arange(12).view(1, 12)
    expected = adapted(input_ids=ids).logits
    fresh = LlamaForCausalLM(plain.config)
    fresh.load_state_dict(sent)
    difference = (fresh(input_ids=ids).logits - expected).abs().max()
    assert difference < 1e-5, f"logits with the sent weights differ by {difference}"
    changed = {name for name in sent if not torch.equal(sent[name], start[name])}
    assert changed == {name for name in names if "_proj" in name}, f"changed by the adapters: {changed}"


@in_host
def test_original_class_is_the_class_as_it_was_written() -> None:
    from rlef_plugin.openrlhf_ext.remote import original_class

    h = host()
    original = original_class(h.stock.Critic)
    where = f"openrlhf/{CRITIC}"
    same(where, {"forward", "append", "fit", "init_model_from_pretrained"} <= vars(original).keys(), True)
    same(f"{where} base", [base.__name__ for base in original.__bases__], ["BaseModelActor"])
    assert getattr(h.ppo_critic, original.__qualname__) is original, f"{where}: not importable by name"


@in_host
def test_our_actor_classes_travel_by_name() -> None:
    """A class sent by value brings copies of the host's methods along, whose `super()` then fails."""
    from ray import cloudpickle

    from rlef_plugin.openrlhf_ext import critic, policy, trainer

    for actor in (critic.TurnCriticActor, policy.PolicyActor, trainer.TrainerActor, trainer.AsyncTrainerActor):
        cls = actor.__ray_metadata__.modified_class
        sent = cloudpickle.dumps(cls)
        base = cls.__ray_actor_class__
        assert base.__module__.encode() in sent and base.__name__.encode() in sent, f"{base} is not sent by name"
        hosts = [one for one in base.__mro__ if one.__module__.startswith("openrlhf.")]
        assert hosts, f"{base} has no class of the host among its bases"
        for host_class in hosts:
            for name, method in vars(host_class).items():
                if inspect.isfunction(method):
                    code = method.__code__.co_code
                    assert code not in sent, f"{host_class.__name__}.{name} is sent by value: remote.py has to change"


FAKE_HOST = """
import ray
class Root:
    def hello(self): return ["root"]
@ray.remote
class Stock(Root):
    def hello(self): return [*super().hello(), "stock"]
"""


FAKE_PLUGIN = """
import ray
import fake_host
from rlef_plugin.openrlhf_ext.remote import original_class
class Ours(original_class(fake_host.Stock)):
    def ours(self): return [*self.hello(), "ours"]
OursActor = ray.remote(Ours)
fake_host.Stock = OursActor
"""


SEND = "import sys, fake_plugin; from ray import cloudpickle; sys.stdout.buffer.write(cloudpickle.dumps(MODIFIED))"
RECEIVE = "import sys; from ray import cloudpickle; print(cloudpickle.load(sys.stdin.buffer)().ours())"


def test_a_subclass_of_an_actor_works_in_a_fresh_process(tmp_path: Path) -> None:
    """Sent as Ray sends it; met without `remote.py`: "super(type, obj): obj must be an instance of type"."""
    (tmp_path / "fake_host.py").write_text(FAKE_HOST)
    (tmp_path / "fake_plugin.py").write_text(FAKE_PLUGIN)
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPO}"}
    send = SEND.replace("MODIFIED", "fake_plugin.OursActor.__ray_metadata__.modified_class")
    sent = subprocess.run([sys.executable, "-c", send], capture_output=True, env=variables, timeout=120)
    assert sent.returncode == 0, sent.stderr.decode()
    received = subprocess.run(
        [sys.executable, "-c", RECEIVE], input=sent.stdout, capture_output=True, env=variables, timeout=120
    )
    assert received.stdout.decode() == "['root', 'stock', 'ours']\n", received.stderr.decode()


@in_host
def test_the_cpu_host_has_patched_what_it_names() -> None:
    import torch

    h = host()
    same("torch.cuda", torch.cuda.current_device(), "cpu")
    same(f"openrlhf/{BUFFER}", str(h.replay_buffer.NaiveReplayBuffer(1).target_device), "cpu")
    same("torch elsewhere", str(torch.device("meta")), "meta")
    group = cpu_host.stateless_init_process_group
    same(f"openrlhf/{DISTRIBUTED}", h.distributed_util.stateless_init_process_group, group)
    same(f"openrlhf/{ACTOR}", h.ppo_actor.stateless_init_process_group, group)
    same(f"openrlhf/{WORKER}", h.vllm_worker_wrap.WorkerWrap.update_weight, cpu_host.update_weight)
    assert "flash_attn" not in sys.modules, "the stand-in for flash_attn is still there"
    import vllm

    made = vllm.AsyncEngineArgs(model=os.environ["WORK"], dtype="bfloat16", seed=3)
    same("vllm.AsyncEngineArgs", (made.dtype, made.seed), ("float32", 3))
    for name in cpu_host._PATCHES:
        assert name in sys.modules, f"{name} is patched, but the host does not import it"


@in_host
def test_the_cpu_host_computes_in_float32() -> None:
    import torch
    from openrlhf.utils.utils import convert_to_torch_dtype

    h = host()
    same(
        "openrlhf/models/model.py dtype", {str(one.dtype) for one in tiny_critic(None).parameters()}, {"torch.float32"}
    )
    same("openrlhf/utils/utils.py", convert_to_torch_dtype("bf16"), torch.float32)
    for name in ("get_train_ds_config", "get_eval_ds_config"):
        config = getattr(h.deepspeed, name)(offload=False)
        same(f"openrlhf/{DEEPSPEED} {name}", config["bf16"], {"enabled": False})


@in_host
def test_the_device_mesh_and_the_moving_average_are_on_the_cpu() -> None:
    import torch

    h = host()
    asked: list[Any] = []
    model, average = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        average.weight.fill_(0.0)
    strategy = SimpleNamespace(time_steps={"ema": 0}, accumulated_gradient=1, use_dynamic_batch=False, stage=2)
    h.deepspeed.DeepspeedStrategy.moving_average(strategy, model, average, 0.75, "cuda")
    same(f"openrlhf/{DEEPSPEED} moving_average", average.weight.tolist(), [[0.25, 0.25]])
    patched = h.deepspeed.init_device_mesh
    inner = next(cell.cell_contents for cell in patched.__closure__ if callable(cell.cell_contents))
    assert inner.__name__ == "init_device_mesh", f"openrlhf/{DEEPSPEED}: init_device_mesh is not wrapped"
    module = SimpleNamespace(
        init_device_mesh=lambda *arguments, **names: asked.append((arguments, names)),
        DeepspeedStrategy=SimpleNamespace(moving_average=None),
        get_train_ds_config=dict,
        get_eval_ds_config=dict,
    )
    cpu_host._patch_deepspeed_strategy(module)
    module.init_device_mesh("cuda", (1, 1, 1), mesh_dim_names=("dp", "sp", "tp"))
    same("the mesh", asked, [(("cpu", (1, 1, 1)), {"mesh_dim_names": ("dp", "sp", "tp")})])


@in_host
def test_weights_are_collected_and_loaded_at_the_last() -> None:
    import torch

    sent = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    queue, loaded = list(sent.values()), []
    worker = host().vllm_worker_wrap.WorkerWrap()
    worker.model_config = SimpleNamespace(dtype=torch.float32)
    worker._model_update_group = SimpleNamespace(broadcast=lambda weight, src: weight.copy_(queue.pop(0)))
    worker.model_runner = SimpleNamespace(
        reload_weights=lambda weights_iterator: loaded.append(dict(weights_iterator))
    )
    for round_ in (1, 2):
        queue[:] = list(sent.values())
        worker.update_weight("a", torch.float32, (2,))
        same("nothing is loaded before the last", len(loaded), round_ - 1)
        worker.update_weight("b", torch.float32, (1, 1), empty_cache=True)
        got = {name: weight.tolist() for name, weight in loaded[-1].items()}
        same(f"loaded in round {round_}", got, {"a": [1.0, 2.0], "b": [[3.0]]})
    try:
        worker.update_weight("a", torch.float16, (2,))
    except TypeError as error:
        assert re.search("weight a arrives as torch.float16, vLLM holds torch.float32", str(error)), str(error)
    else:
        raise AssertionError("a weight of another type was taken")


@in_host
def test_the_weight_group_takes_the_hosts_calls() -> None:
    """`broadcast(tensor, src=0, stream=...)` on both sides, over vLLM's object broadcast. A weight is a view of
    DeepSpeed's buffer, which must not travel with each of them, nor be kept by the sender for each."""
    import pickle

    import torch

    wire: list[bytes] = []

    class Group:
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def broadcast_obj(self, obj: Any, src: int) -> Any:
            if self.rank == src:
                wire.append(pickle.dumps(obj))
            return pickle.loads(wire[-1])

    buffer = torch.tensor([1.5, 2.5, *[0.0] * 100_000], requires_grad=True)
    weight, received = buffer[:2], torch.zeros(2)
    cpu_host._WeightGroup(Group(0)).broadcast(weight.data, src=0, stream=torch.cuda.current_stream())
    cpu_host._WeightGroup(Group(1)).broadcast(received, src=0)
    same("received", received.tolist(), [1.5, 2.5])
    assert len(wire[0]) < 10_000, f"{len(wire[0])} bytes for two numbers"
