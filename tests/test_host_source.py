"""What the plugin relies on in OpenRLHF 0.11, read from its source: one test a fact, named by the host's file.

So that an upgrade fails with a sentence that says what moved. Nothing is imported, so this takes seconds; what has to
be seen at work is in the other test_host_*.py.
"""

import ast
import importlib.util
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from host_files import (
    ACTOR,
    ASYNC,
    BUFFER,
    CLI,
    CRITIC,
    DEEPSPEED,
    DISTRIBUTED,
    ENGINE,
    MAKER,
    RING,
    SAMPLES,
    TRAINER,
    WORKER,
)

from rlef_plugin import launcher
from rlef_plugin.errors import UsageError
from rlef_plugin.openrlhf_ext import cpu_host, host_cli


def root() -> Path:
    return host_cli.host_file().parents[1]


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((root() / path).read_text())


def find(path: str, name: str) -> Any:
    """The class or function `A.b` of a host file."""
    node: Any = tree(path)
    for part in name.split("."):
        found = [one for one in ast.walk(node) if getattr(one, "name", None) == part and hasattr(one, "body")]
        assert found, f"openrlhf/{path} has no {name} any more"
        node = found[0]
    return node


def says(path: str, name: str, *lines: str) -> None:
    """`name` in the host's file holds these statements, spelled as `ast.unparse` does, white space aside."""
    text = " ".join(ast.unparse(find(path, name) if name else tree(path)).split())
    for line in lines:
        assert line in text, f"openrlhf/{path}: {name} no longer says `{line}`"


def parameters(path: str, name: str) -> list[str]:
    arguments = find(path, name).args
    return [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def calls(path: str, name: str, function: str) -> list[ast.Call]:
    """Calls of `function` inside `name`."""
    found = [
        node
        for node in ast.walk(find(path, name))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == function
    ]
    assert found, f"openrlhf/{path}: {name} no longer calls {function}"
    return found


# --- the command line


def test_the_main_block_is_parser_then_checks_then_train() -> None:
    statements, checks = host_cli._main_block()
    assert ast.unparse(statements[-1]).startswith("parser."), f"openrlhf/{CLI}: the parser is built otherwise"
    block = next(node for node in tree(CLI).body if isinstance(node, ast.If))
    assert ast.unparse(block.body[-1]) == "train(args)", f"openrlhf/{CLI}: something comes after train(args)"
    assert len(checks) > 10, f"openrlhf/{CLI}: the checks are no longer between parse_args() and train(args)"


@pytest.mark.parametrize("body", ["main()", "args = parse()\n    train(args)", "pass"])
def test_a_host_with_another_main_block_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    file = tmp_path / "train_ppo_ray.py"
    file.write_text(f"import argparse\n\nif __name__ == '__main__':\n    {body}\n")
    monkeypatch.setattr(host_cli, "host_file", lambda cli: file)
    with pytest.raises(UsageError, match="no longer builds its parser the way 0.11.2 does: install openrlhf>=0.11.2"):
        host_cli.build_parser()


def test_ray_is_initialised_only_if_it_is_not_and_with_the_variables_we_set() -> None:
    guard = next(node for node in ast.walk(find(CLI, "train")) if isinstance(node, ast.If))
    assert ast.unparse(guard.test) == "not ray.is_initialized()", f"openrlhf/{CLI}: ray.init is not guarded any more"
    inits = [call for path in ("cli", "trainer") for call in ray_inits(path)]
    assert len(inits) == 1, f"openrlhf starts Ray in {len(inits)} places of cli/train_ppo_ray.py and trainer/"
    variables = next(node for node in ast.walk(guard) if isinstance(node, ast.Dict) and len(node.keys) > 1)
    theirs = {ast.literal_eval(k): ast.unparse(v) for k, v in zip(variables.keys, variables.values, strict=True)}
    ours = {name: f"os.environ.get({name!r}, {value!r})" for name, value in launcher.HOST_VARIABLES.items()}
    assert theirs == ours, f"openrlhf/{CLI}: Ray's variables are others now"


def ray_inits(folder: str) -> list[ast.Call]:
    files = [CLI] if folder == "cli" else [str(p.relative_to(root())) for p in (root() / folder).rglob("*.py")]
    nodes = (node for file in files for node in ast.walk(tree(file)))
    return [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "ray.init"]


def test_the_classes_we_replace_are_looked_up_where_we_replace_them() -> None:
    says(CLI, "", "from openrlhf.trainer.ray.ppo_critic import CriticModelActor")
    says(
        CLI,
        "train",
        "from openrlhf.trainer.ppo_trainer_async import PPOTrainerAsync as PPOTrainer",
        "from openrlhf.trainer.ppo_trainer import PPOTrainer",
        "PPOTrainer.remote(",
    )
    for name in ("GenerateSamplesActor", "TrainingActor"):
        says(ASYNC, "PPOTrainerAsync.__init__", f"{name}.remote(")


def test_an_agent_file_stands_for_a_reward_model() -> None:
    says(CLI, "", "if args.train.agent_func_path: args.reward.remote_url = 'agent'")
    says(CLI, "train", "if not args.reward.remote_url: reward_model = RayActorGroup(")


def test_the_schedule_counts_updates() -> None:
    """What the recipes' warm-up ratios are computed from."""
    says(
        TRAINER,
        "prepare_datasets",
        "len(prompts_dataset) * args.rollout.n_samples_per_prompt // args.train.batch_size "
        "* args.train.num_episodes * args.train.max_epochs",
    )
    says(DEEPSPEED, "", "num_warmup_steps=math.ceil(scheduler_steps * cfg.get('lr_warmup_ratio', 0.03))")
    for path, name in ((ACTOR, "PolicyModelActor"), (CRITIC, "CriticModelActor")):
        says(path, f"{name}.init_model_from_pretrained", "scheduler_steps=max_steps")


def test_evaluation_counts_the_hosts_steps_and_an_iteration_is_one_step() -> None:
    says(TRAINER, "PPOTrainer.fit", "global_step % self.args.eval.steps == 0")
    says(ASYNC, "GenerateSamplesActor._should_eval", "global_step % self.args.eval.steps == 0")
    says(TRAINER, "BasePPOTrainer.train_step", "return (status, global_step + 1)")


# --- rollouts


def test_the_engine_calls_the_executor_with_our_parameters() -> None:
    [call] = calls(ENGINE, "RolloutRayActor.generate_responses", "self.executor.execute")
    passed = {keyword.arg for keyword in call.keywords}
    ours = {"prompt", "label", "sampling_params", "max_length", "hf_tokenizer", "llm_engine", "images"}
    assert (passed, call.args) == (ours, []), f"openrlhf/{ENGINE}: the executor is called with {sorted(passed)}"
    assert parameters("utils/agent.py", "AgentExecutorBase.execute") == [
        "self",
        *("prompt", "label", "sampling_params", "max_length", "hf_tokenizer", "llm_engine", "images"),
    ], "openrlhf/utils/agent.py: AgentExecutorBase.execute has other parameters"
    assert parameters(ENGINE, "RolloutRayActor.generate")[:3] == ["self", "prompt_token_ids", "sampling_params"]


def test_only_the_executor_is_given_the_tokenizer() -> None:
    """Which reads the one of the engine's model instead, see `RecordedSamples._dispatch_prompts_to_vllm`."""
    says(SAMPLES, "SamplesGenerator._dispatch_prompts_to_vllm", "hf_tokenizer=self.tokenizer")
    assert (root() / SAMPLES).read_text().count("self.tokenizer") == 2, f"openrlhf/{SAMPLES} reads it elsewhere too"
    says(ENGINE, "RolloutRayActor.__init__", "self.kwargs = kwargs")
    says(ENGINE, "create_vllm_engines", "'model': pretrain")


def test_a_prompts_samples_share_sampling_params() -> None:
    """Why the executor copies them; each prompt's samples come back together, which `solve_rates` counts on."""
    says(ENGINE, "RolloutRayActor.generate_responses", "for _ in range(num_samples)", "await asyncio.gather(*tasks)")
    says(SAMPLES, "SamplesGenerator._generate_vllm", "for response in ray.get(ref)", "accepted_experiences.extend(")


def test_log_probs_are_asked_for_only_with_importance_weights() -> None:
    says(
        SAMPLES,
        "SamplesGenerator._dispatch_prompts_to_vllm",
        "logprobs=1 if self.args.algo.advantage.is_correction_level != 'off' else None",
        "max_tokens=generate_kwargs.get('max_new_tokens')",
        "skip_special_tokens=generate_kwargs.get('skip_special_tokens', False)",
    )
    says(CLI, "train", "'processed_logprobs' if args.algo.advantage.is_correction_level != 'off' else None")


# --- training


def test_the_critic_is_asked_with_keywords_that_turn_critic_takes() -> None:
    says(MAKER, "RemoteExperienceMaker.make_experience", "sequences=sequences_list, action_mask=action_mask_list")
    assert parameters(CRITIC, "CriticModelActor.forward")[:4] == ["self", "sequences", "action_mask", "attention_mask"]
    assert parameters(CRITIC, "CriticModelActor.append") == ["self", "experience"]


def test_the_critics_loss_is_over_the_mask_in_its_replay_buffer() -> None:
    says(CRITIC, "CriticPPOTrainer.training_step", "action_mask = experience.action_mask", "action_mask=action_mask")
    says(CRITIC, "CriticPPOTrainer.ppo_train", "lambda e: e.action_mask")


def test_both_trainers_step_through_train_step() -> None:
    assert parameters(TRAINER, "BasePPOTrainer.train_step") == ["self", "rollout_samples", "global_step"]
    for path, name in ((TRAINER, "PPOTrainer.fit"), (ASYNC, "TrainingActor.fit")):
        says(path, name, "status, global_step = self.train_step(rollout_samples, global_step)")
        says(path, name, "self.save_logs_and_checkpoints(global_step, status, client_states)")
    says(TRAINER, "BasePPOTrainer.train_step", "self.experience_maker.make_experience_batch(rollout_samples)")


def test_the_actor_logs_every_tensor_and_list_of_info() -> None:
    """Why lists of a number a turn are taken out of `info` before the replay buffer."""
    says(
        ACTOR,
        "ActorPPOTrainer.training_step",
        "for k, v in experience.info.items():",
        "if isinstance(v, torch.Tensor): metrics[k] = v",
        "elif isinstance(v, list): metrics[k] = torch.tensor(v, dtype=torch.float)",
    )


def test_evaluation_metrics_are_computed_by_the_function_we_replace() -> None:
    assert parameters(TRAINER, "compute_eval_metrics") == ["eval_dataloader", "samples_list", "n_samples_per_prompt"]
    for path, name in ((TRAINER, "PPOTrainer.evaluate"), (ASYNC, "GenerateSamplesActor._run_eval")):
        [call] = calls(path, name, "compute_eval_metrics")
        assert len(call.args) == 3 and not call.keywords, f"openrlhf/{path}: {name} calls it otherwise"
    says(TRAINER, "compute_eval_metrics", "for datasources, prompts, labels, _images in eval_dataloader")


# --- what the CPU host patches


def host_files() -> list[str]:
    return [str(path.relative_to(root())) for path in sorted(root().rglob("*.py"))]


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # of the host's regular expressions
def test_every_cuda_device_the_host_names_is_one_we_know() -> None:
    found = {
        (path, node.value)
        for path in host_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("cuda")
    }
    known = {(BUFFER, "cuda:"), (ACTOR, "cuda"), (WORKER, "cuda"), (DEEPSPEED, "cuda")}
    assert found == known, f"the host names CUDA devices elsewhere now: {sorted(found ^ known)}"
    says(BUFFER, "NaiveReplayBuffer.__init__", "torch.device(f'cuda:{torch.cuda.current_device()}')")
    [mesh] = calls(DEEPSPEED, "DeepspeedStrategy.setup_distributed", "init_device_mesh")
    assert ast.unparse(mesh.args[0]) == "'cuda'", f"openrlhf/{DEEPSPEED}: the device mesh is made otherwise"
    for call in calls(ACTOR, "ActorPPOTrainer.training_step", "self.strategy.moving_average"):
        assert ast.unparse(call.args[-1]) == "'cuda'", f"openrlhf/{ACTOR}: the moving average's device moved"
    assert parameters(DEEPSPEED, "DeepspeedStrategy.moving_average") == [
        "self",
        "model",
        "model_ema",
        "beta",
        "device",
    ]


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_every_function_of_torch_cuda_the_host_uses_is_one_we_know() -> None:
    found = {
        node.attr
        for path in host_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch.cuda"
    }
    patched = {"current_device", "current_stream", "synchronize", "set_device", "empty_cache"}
    unused = {"get_device_properties", "is_available"}  # the one for CUDA IPC; the other answers for itself
    assert found == patched | unused, f"the host uses torch.cuda otherwise: {sorted(found ^ (patched | unused))}"


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_flash_attention_is_imported_in_one_module_by_the_names_we_stand_in_for() -> None:
    imports = {
        (path, node.module, tuple(alias.name for alias in node.names))
        for path in host_files()
        for node in tree(path).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flash_attn")
    }
    expected = {(RING, module, names) for module, names in cpu_host._FlashAttentionStandIn.NAMES.items() if names}
    assert imports == expected, f"openrlhf/{RING}: flash_attn is imported otherwise: {imports ^ expected}"


def test_weights_are_sent_one_by_one_and_the_last_is_marked() -> None:
    says(
        ACTOR,
        "ActorPPOTrainer.broadcast_to_vllm",
        "engine.update_weight.remote(name, dtype=param.dtype, shape=shape, empty_cache=count == num_params)",
        "self._model_update_group.broadcast(param.data, src=0, stream=torch.cuda.current_stream())",
        "count += 1",
        "num_params = len(params_to_sync)",
    )
    theirs, ours = parameters(WORKER, "WorkerWrap.update_weight"), inspect.signature(cpu_host.update_weight)
    assert theirs == list(ours.parameters), f"openrlhf/{WORKER}: update_weight takes {theirs}"
    says(ENGINE, "RolloutRayActor.update_weight", "'update_weight', args=(name, dtype, shape, empty_cache)")
    says(ENGINE, "create_vllm_engines", "'openrlhf.trainer.ray.vllm_worker_wrap.WorkerWrap'")


def test_the_weight_group_is_made_by_the_function_we_replace() -> None:
    theirs = parameters(DISTRIBUTED, "stateless_init_process_group")
    ours = list(inspect.signature(cpu_host.stateless_init_process_group).parameters)
    assert theirs == ours, f"openrlhf/{DISTRIBUTED}: stateless_init_process_group takes {theirs}"
    says(ACTOR, "", "from openrlhf.utils.distributed_util import stateless_init_process_group")
    says(WORKER, "", "from openrlhf.utils.distributed_util import stateless_init_process_group")
    says(WORKER, "WorkerWrap.init_process_group", "self._model_update_group = stateless_init_process_group(")


def test_what_vllm_offers_for_reloading_weights() -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    runner = ast.parse((folder / "v1/worker/gpu_model_runner.py").read_text())
    reload = next(node for node in ast.walk(runner) if getattr(node, "name", "") == "reload_weights")
    names = [one.arg for one in reload.args.args]  # type: ignore[attr-defined]
    assert names[1] == "weights_iterator", f"vllm/v1/worker/gpu_model_runner.py: reload_weights takes {names}"
    text = (folder / "v1/worker/cpu_model_runner.py").read_text()
    assert "class CPUModelRunner(GPUModelRunner)" in text, "vllm/v1/worker/cpu_model_runner.py: another base class"
    groups = ast.parse((folder / "distributed/utils.py").read_text())
    named = {node.name: node for node in ast.walk(groups) if isinstance(node, ast.FunctionDef)}
    assert [one.arg for one in named["create"].args.args][:4] == ["host", "port", "rank", "world_size"]
    assert [one.arg for one in named["broadcast_obj"].args.args] == ["self", "obj", "src"]


# --- what only a GPU can run (benchmarks/gpu_smoke.sh runs it): that our parts fit in


def test_packing_and_ring_attention_take_the_rows_that_the_attention_mask_leaves() -> None:
    """So the critic's cut, which is made in that mask, shortens packed rows too, and values come back on the grid."""
    says(
        "models/model.py",
        "_get_critic_model",
        "unpad_and_slice_tensor(input_ids, attention_mask, ring_attn_group)",
        "gather_and_pad_tensor(values, ring_attn_group, ring_attn_pad_len, indices, batch, seqlen)",
        "action_values = values[:, -action_mask.shape[1]:] * action_mask.float()",
    )
    says(RING, "unpad_and_slice_tensor", "unpad_input(sequences.unsqueeze(-1), attention_mask)")
    says("trainer/ppo_utils/experience.py", "remove_padding_in_sequences", "item.attention_mask.flip(0).argmax()")


def test_ring_ranks_get_the_same_rows() -> None:
    """Each of our overrides sees a whole row in every rank; the host slices it inside the model."""
    says("trainer/ray/launcher.py", "RayActorGroup.async_run_method_batch", "for j in range(self.duplicate_actors)")
    says(CRITIC, "CriticModelActor.forward", "ring_attn_group=self.strategy.ring_attn_group")


def test_sleep_mode_puts_the_critic_to_sleep_by_methods_we_leave_alone() -> None:
    says(
        TRAINER,
        "BasePPOTrainer.ppo_train",
        "ray.get(group.async_run_method(method_name='reload_states'))",
        "group.async_run_method(method_name='fit', **kwargs)",
        "_run_sleep(self.critic_model_group)",
        "_run_sleep(self.actor_model_group, kl_ctl=self.kl_ctl.value)",
    )
    says(CRITIC, "CriticModelActor.offload_states", "offload_deepspeed_states(self.critic)")


def test_cuda_ipc_sends_the_parameters_that_lora_names_too() -> None:
    """`Merged` (policy.py) stands for a parameter in both ways of sending: name, shape, dtype, data, requires_grad."""
    says(
        ACTOR,
        "ActorPPOTrainer.broadcast_to_vllm",
        "model = self.actor.model.module",
        "model.named_parameters() if p.requires_grad or not getattr(self.actor, 'is_vlm', False)",
        "weight = param.data.clone()",
        "self._model_update_group.broadcast(param.data, src=0",
        "dtype=param.dtype",
    )
    says(ACTOR, "ActorPPOTrainer", "self.use_cuda_ipc = backend == 'nccl' and self.args.train.colocate_all")
    attributes = {
        node.attr
        for node in ast.walk(find(ACTOR, "ActorPPOTrainer.broadcast_to_vllm"))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "param"
    }
    assert attributes <= {"data", "shape", "dtype", "ds_shape"}, f"openrlhf/{ACTOR} reads {attributes} of a parameter"


# --- what a checkpoint holds


def test_a_checkpoint_is_whole_when_its_metric_is_there() -> None:
    text = ast.unparse(find(DEEPSPEED, "DeepspeedStrategy.save_ckpt"))
    assert text.index("model.save_checkpoint(") < text.index("self._write_ckpt_metric("), f"openrlhf/{DEEPSPEED}"
    says(DEEPSPEED, "DeepspeedStrategy", "CKPT_METRIC_FILENAME = 'metric.json'")
    for path, folder in ((ACTOR, "_actor"), (CRITIC, "_critic")):
        says(path, "", f"os.path.join(args.ckpt.path, '{folder}')")


def test_a_checkpoint_does_not_hold_the_moving_average() -> None:
    """The reason for the refusal in limits.py, which can go when the host saves it."""
    says(ACTOR, "PolicyModelActor.save_checkpoint", "self.strategy.save_ckpt(self.actor.model,")
    text = ast.unparse(find(ACTOR, "PolicyModelActor.init_model_from_pretrained"))
    assert text.count("load_ckpt") == 1 and "load_ckpt(self.actor.model" in text, f"openrlhf/{ACTOR} loads more now"
