"""Runs the host's own CLI with our extension points in place; the only place that knows how the host is started.

    flags -> plan (settings + the host's own flags) -> preflight (cheap checks first) -> Ray -> what only a cluster
    can tell -> install -> the host

`rlef train RECIPE` and `python -m openrlhf.cli.train_ppo_ray --env CLASS ...` both end in `main`, with the same flags.
The host calls `ray.init` only if Ray is not initialised, so Ray is started here, with the variables the host would
set, ours, and on the CPU host a hook for its workers. Then the host's module runs as `__main__`, unchanged.
"""

import argparse
import logging
import os
import runpy
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlef_plugin import build_locks, experiment, recipes
from rlef_plugin import config as settings
from rlef_plugin.config import RlefConfig
from rlef_plugin.errors import UsageError
from rlef_plugin.limits import refuse_limits, refuse_numbers, refuse_steps
from rlef_plugin.openrlhf_ext import AGENT_FILE, cpu_host, host_cli
from rlef_plugin.openrlhf_ext.cluster import check_cluster
from rlef_plugin.owner import owned
from rlef_plugin.runs.episodes import episode_metrics

log = logging.getLogger("rlef")

STOP_S = 4  # how long processes may take to end by themselves

END_WITH_WORKER = "RAY_process_group_cleanup_enabled"  # of raylet: a killed rollout actor's vLLM processes end too
OOM_SCORE = ("RAY_worker_oom_score_adjustment", "500")  # Ray's 1000 is a jail's: the kernel is to end jails first
HOST_VARIABLES = {"TOKENIZERS_PARALLELISM": "true", "NCCL_DEBUG": "WARN", "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1"}
OURS_ALONE = {  # host flags the plugin sets itself, and what a user should use instead
    "train.agent_func_path": "--env names the environment",
    "reward.remote_url": "the environment gives the reward",
    "reward.model_name_or_path": "the environment gives the reward",
}
WRITTEN_TO = ("ckpt.path", "ckpt.output_dir")  # by processes of Ray, which may have been started in another folder
PER_EPISODE = (
    "reward.overlong_buffer_len",
    "reward.stop_properly_penalty_coef",
)  # change a reward of the whole episode
NOT_FOR_TURNS = (  # host flags, their defaults, and what to use instead with algo.advantage.estimator=turn
    ("algo.advantage.no_std_norm", False, "use rlef.whiten"),
    ("reward.clip_range", (-10, 10), "drop it"),
)


@dataclass(frozen=True)
class Plan:
    """Everything decided before anything is started."""

    config: RlefConfig
    arguments: dict[str, Any]  # the host's, flat: {"data.max_len": 8192}; estimators under the user's names
    host_flags: list[str]  # what the host's CLI is run with


def main(flags: Sequence[str]) -> None:
    """Train; `flags` are the host's with `--env` and `--rlef.*` among them. Exits with 2 on a user's error."""
    logging.basicConfig(format="rlef: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        if any(flag in ("-h", "--help") for flag in flags):
            full_parser().print_help()
            return
        plan = make_plan(flags)
        preflight(plan)
        run(plan)
    except KeyboardInterrupt:
        log.warning("interrupted; everything that was started has ended")
        raise SystemExit(130) from None
    except UsageError as error:
        log.error("%s", error)
        raise SystemExit(2) from None


def full_parser() -> argparse.ArgumentParser:
    parser = host_cli.build_parser()
    settings.add_flags(parser)
    return parser


def make_plan(flags: Sequence[str]) -> Plan:
    """Split the flags into our settings and the host's, and check both; reads no file but the host's CLI.

    Raises:
        UsageError: an unknown flag, a value the flag does not take, or a combination that would be silently wrong.
    """
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ours.error = host_cli.refuse  # type: ignore[method-assign]
    settings.add_flags(ours)
    own, theirs = ours.parse_known_args(list(flags))
    unknown = [flag for flag in theirs if flag.startswith("--rlef.")]
    if unknown:
        known = [name for name, *_ in settings.fields()]
        raise UsageError(host_cli.unknown_key(unknown[0].removeprefix("--").partition("=")[0], known))
    arguments = vars(host_cli.parse(theirs))
    arguments |= {key: _absolute(arguments[key]) for key in WRITTEN_TO}
    _refuse_conflicts(arguments)
    if not arguments["data.prompt_dataset"]:
        raise UsageError("data.prompt_dataset is missing: name a problem store made by `rlef data build`")
    named = (arguments["data.prompt_dataset"], arguments["eval.dataset"])
    stores = tuple(dict.fromkeys(_absolute(path) for path in named if path))
    config = settings.from_flags(vars(own), stores, run_dir=_absolute(f"{arguments['ckpt.output_dir']}/rlef"))
    config = settings.with_host_flags(config, vars(own)["rlef.kl"], arguments, theirs)
    _refuse_settings(config, arguments)
    host_flags = [*host_cli.for_host(theirs), *_flags_we_set(arguments)]
    host_cli.check(host_flags)
    return Plan(config, arguments, host_flags)


def describe(flags: Sequence[str]) -> str:
    """The host's own command that trains with these flags, after all checks that load no model and start nothing."""
    plan = make_plan(flags)
    check_inputs(plan)
    named = any(flag.partition("=")[0] == "--env" for flag in flags)  # without it the host would run as it is
    return shlex.join(["python", "-m", host_cli.HOST_MODULE, *([] if named else ["--env", plan.config.env]), *flags])


def describe_recipe(recipe: Path, overrides: Sequence[str]) -> str:
    """The same of a recipe of the host's training: so a typo in an override is found before anything is replaced."""
    return describe(recipes.to_flags(recipes.load(recipe, overrides)))


def _refuse_conflicts(arguments: dict[str, Any]) -> None:
    for key, instead in OURS_ALONE.items():
        if arguments[key]:
            raise UsageError(f"{key}={arguments[key]!r} and --env exclude each other: {instead}, so drop {key}")


def _refuse_settings(config: RlefConfig, arguments: dict[str, Any]) -> None:
    """Combinations that the host would accept and that would train on something else than the user meant."""
    refuse_numbers(arguments)
    turns = config.advantage_estimator == "turn"
    if config.advantage_estimator == "gae" and config.episode.turn_limit > 1:
        raise UsageError(
            f"algo.advantage.estimator=gae with rlef.turn_limit={config.episode.turn_limit}: the host's GAE steps "
            "through feedback tokens as if they were states; use algo.advantage.estimator=turn"
        )
    if turns and config.kl_estimator not in ("geometric_mean", "sum") and not arguments["algo.kl.use_loss"]:
        raise UsageError(
            f"algo.kl.estimator={config.kl_estimator} with algo.advantage.estimator=turn: the KL is in a turn's "
            "reward there; use geometric_mean or sum"
        )
    if not turns and config.kl_estimator in ("geometric_mean", "sum"):
        raise UsageError(
            f"algo.kl.estimator={config.kl_estimator} needs algo.advantage.estimator=turn, not "
            f"{config.advantage_estimator}: the host's estimators take a KL a token; use k1"
        )
    _refuse_what_is_not_used(config, arguments)
    if config.episode.feedback == "private":
        raise UsageError(
            "rlef.feedback=private shows private tests to the model, and training on them would leak them into it: "
            "use it in `rlef eval` only"
        )
    for key in PER_EPISODE:
        if turns and arguments[key] is not None:
            raise UsageError(f"{key}={arguments[key]} changes the reward of a whole episode, not of a turn: drop it")
    if config.episode.turn_limit > 1 and not arguments["rollout.max_new_tokens"]:
        raise UsageError(
            f"rollout.max_new_tokens is not set: with rlef.turn_limit={config.episode.turn_limit} a first response "
            "could take the whole context; set it to the most tokens one response may have"
        )
    rollouts = arguments["rollout.batch_size"] * arguments["rollout.n_samples_per_prompt"]
    if rollouts % arguments["train.batch_size"]:
        raise UsageError(
            f"{rollouts} rollouts a step (rollout.batch_size x rollout.n_samples_per_prompt) are no multiple of "
            f"train.batch_size={arguments['train.batch_size']}: the rest's gradient would leak into the next step"
        )
    refuse_limits(arguments)
    if arguments["train.enable_ema"] and not config.cpu_host:
        raise UsageError(
            f"train.enable_ema with ds.param_dtype={arguments['ds.param_dtype']}: the host keeps the average in that "
            "type too, where a share of 1 - train.ema_beta of a change is mostly rounded away, so that the saved "
            "policy would be almost the first one; drop it"
        )
    _refuse_unknown_metric(config, arguments)
    if config.cpu_host:
        for key, value in cpu_host.REQUIRED_FLAGS.items():
            if arguments[key] != value:
                raise UsageError(f"{key}={arguments[key]!r} does not run on the CPU host: set {key}={value!r}")


def _refuse_what_is_not_used(config: RlefConfig, arguments: dict[str, Any]) -> None:
    """Settings of the other kind of estimator, whose effect a user would look for in vain."""
    if config.advantage_estimator == "turn":
        for key, default, instead in NOT_FOR_TURNS:
            value = tuple(arguments[key]) if isinstance(arguments[key], list) else arguments[key]
            if value != default:
                raise UsageError(f"{key}={value} has no effect with algo.advantage.estimator=turn: {instead}")
    else:
        for key, chosen in (("value", config.value), ("whiten", config.whiten)):
            if chosen != "turn":
                raise UsageError(
                    f"rlef.{key}={chosen} needs algo.advantage.estimator=turn, not {config.advantage_estimator}: "
                    "drop it, or use that estimator"
                )


def _refuse_unknown_metric(config: RlefConfig, arguments: dict[str, Any]) -> None:
    """The host passes over a key that no evaluation has, and never keeps a best checkpoint."""
    key, split = arguments["ckpt.best_metric_key"], arguments["eval.split"]
    known = {f"eval_{split}_pass{samples}" for samples in (1, arguments["eval.n_samples_per_prompt"])}
    known |= {f"eval_{name}" for name in episode_metrics([], config.episode.turn_limit)}
    if arguments["eval.dataset"] and key not in {"", "none", *known}:
        raise UsageError(
            f"ckpt.best_metric_key={key} is no metric of an evaluation of eval.split={split}, so no best checkpoint "
            f"would be kept: set it to eval_{split}_pass1"
        )


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _flags_we_set(arguments: dict[str, Any]) -> list[str]:
    """The host's flags that follow from `--env`: its executor, the store's prompt files (an id a line), paths."""
    from rlef_plugin.problems import ProblemStore

    flags = ["--train.agent_func_path", str(AGENT_FILE), "--data.input_key", "prompt", "--data.label_key", "label"]
    for key, split in (("data.prompt_dataset", "data.prompt_split"), ("eval.dataset", "eval.split")):
        if arguments[key]:
            prompts = ProblemStore.open(_absolute(arguments[key])).prompts(arguments[split])
            if set(",@") & set(str(prompts)):
                raise UsageError(f"{key}={str(prompts)!r}: the host splits paths at ',' and '@', so move the store")
            flags += [f"--{key}", str(prompts), f"--{split}", "train"]  # a JSONL file has the one split "train"
    flags += [word for key in WRITTEN_TO for word in (f"--{key}", arguments[key])]
    for key, replacements in host_cli.ADDED_CHOICES.items():
        flags += [f"--{key}", replacements.get(arguments[key], arguments[key])]
    return flags


def preflight(plan: Plan) -> None:
    """Everything that can be found wrong before a model is loaded, cheapest first.

    Raises:
        UsageError: one sentence with the value, the cause and what to change.
    """
    from rlef_plugin.preflight import check_context, check_folders, check_sandbox, check_versions, warn_of_overlap

    check_versions()
    check_inputs(plan)
    warn_of_overlap(plan.arguments)
    check_sandbox(plan.config)
    check_context(plan.config, plan.arguments)
    check_folders(plan.config, plan.arguments)


def check_inputs(plan: Plan) -> None:
    """What the flags name: environment, prompts, examples, problems. In tenths of a second.

    Raises:
        UsageError: one sentence with the value, the cause and what to change.
    """
    from rlef_plugin.preflight import check_environment, check_feedback

    check_environment(plan.config)
    _refuse_steps(plan)
    check_feedback(plan.config, plan.arguments)


def _refuse_steps(plan: Plan) -> None:
    from rlef_plugin.problems import ProblemStore

    store = ProblemStore.open(_absolute(plan.arguments["data.prompt_dataset"]))
    problems = store.splits[plan.arguments["data.prompt_split"]]
    refuse_steps(plan.arguments, problems)


def run(plan: Plan) -> None:
    """Start Ray, put our classes in place and run the host's CLI in this process, as `__main__`."""
    path, keys = Path(plan.arguments["ckpt.path"]), ("ckpt.save_steps", "eval.steps", "ckpt.load_enable")
    if not any(plan.arguments[key] > 0 for key in keys):  # nothing will be saved
        return _run(plan, plan.host_flags)
    with owned(path):
        going_on = experiment.start(plan.config, plan.arguments)
        _run(plan, plan.host_flags if going_on else [one for one in plan.host_flags if one != "--ckpt.load_enable"])


def _run(plan: Plan, flags: list[str]) -> None:
    with ray_running(plan.config):
        config, paths = plan.config, (*(plan.arguments[key] for key in WRITTEN_TO), plan.config.run_dir)
        read = [*config.stores, config.episode.prompts, config.episode.few_shot, str(AGENT_FILE)]
        check_cluster(plan.arguments, [Path(path) for path in read if path], [Path(path) for path in paths])
        log.info("importing the host (half a minute)")
        _run_host(flags)


@contextmanager
def ray_running(config: RlefConfig) -> Iterator[None]:
    """Ray with our settings in the environment of all its processes; at the end, and on SIGTERM, all of it ends."""
    os.environ[settings.VARIABLE] = config.to_json()
    if config.cpu_host:
        log.warning("CPU host: for trying out and testing only; this is not how to train a model")
        os.environ.update(cpu_host.ENVIRONMENT)
        cpu_host.setup_worker()
    with build_locks.kept_clear(remove=config.cpu_host):
        try:
            _start_ray(config)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Ray's own handler would skip the `finally` below
            with _judges(config):
                yield
        finally:
            _stop_ray()


def _start_ray(config: RlefConfig) -> None:
    import ray

    os.environ.setdefault(END_WITH_WORKER, "true")
    os.environ.setdefault(*OOM_SCORE)
    variables = {name: os.environ.get(name, value) for name, value in HOST_VARIABLES.items()}
    runtime: dict[str, Any] = {"env_vars": {**variables, settings.VARIABLE: config.to_json()}}
    log.info("starting Ray")
    if config.cpu_host:
        runtime["env_vars"] |= cpu_host.ENVIRONMENT
        runtime["worker_process_setup_hook"] = f"{cpu_host.__name__}.{cpu_host.setup_worker.__name__}"
        ray.init("local", runtime_env=runtime, include_dashboard=False, **cpu_host.RAY_RESOURCES)  # type: ignore[arg-type]
    else:
        ray.init(runtime_env=runtime)
        if not ray.cluster_resources().get("GPU"):
            raise UsageError("Ray sees no GPU: start Ray on GPU nodes, or set rlef.cpu_host=true to try things out")


def _judges(config: RlefConfig) -> AbstractContextManager[None]:
    """The judge actors that all rollout actors share; without them each has a judge of its own, on its own node."""
    from rlef_plugin.judge.remote import check_rollout_nodes, judge_actors

    if config.judge.backend != "ray":
        check_rollout_nodes(config.judge)
        return nullcontext()
    return judge_actors(config.judge)


def _stop_ray() -> None:
    """End Ray, and wait for what this process started: workers, judge and jails outlive Ray by seconds."""
    import psutil
    import ray

    started = psutil.Process().children(recursive=True)
    ray.shutdown()
    _, alive = psutil.wait_procs(started, timeout=STOP_S)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=STOP_S)


def _run_host(flags: list[str]) -> None:
    from rlef_plugin.openrlhf_ext import install

    install()
    sys.argv = [host_cli.HOST_MODULE, *flags]
    runpy.run_module(host_cli.HOST_MODULE, run_name="__main__", alter_sys=True)
