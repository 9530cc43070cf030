"""Reinforcement learning from execution feedback (RLEF) for code models: a plugin for OpenRLHF.

The files in the order in which data flows through them:

    hook.py            `python -m openrlhf.cli.train_ppo_ray --env CLASS` -> launcher.main
    cli.py             the `rlef` command                                -> launcher.main, and everything else
    recipes.py         recipe YAML -> the host's own flags
    config.py          those flags -> one frozen RlefConfig
    preflight.py       what can be found wrong before a model is loaded (doctor.py: on this machine at all)
    launcher.py        Ray, our extension points, then the host's CLI
    problems/          rows in CodeContests' schema -> an Arrow store -> Problem
    env/               problem -> first message; response -> feedback and reward: one episode
    judge/             program and inputs -> verdicts, in jails (what runs inside them is rlef_sandbox)
    judging/           `rlef judge`: one program, or all of a store, for people
    openrlhf_ext/      episodes -> the host's samples; turns -> its actor and its critic
    rl/                turns, KL, returns and advantages of a batch: tensors in, tensors out
    runs/              what a run says of itself: metrics, timeline, `rlef watch`, `rlef show`

Importing this package is cheap (no torch, no host): its names are looked up when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlef_plugin.env import CodeContestsEnv, HumanEvalPlusEnv, LiveCodeBenchEnv, MBPPPlusEnv

__version__ = "0.1.0"
__all__ = ["CodeContestsEnv", "HumanEvalPlusEnv", "LiveCodeBenchEnv", "MBPPPlusEnv", "__version__"]

_LAZY = dict.fromkeys(("CodeContestsEnv", "HumanEvalPlusEnv", "LiveCodeBenchEnv", "MBPPPlusEnv"), "rlef_plugin.env")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'rlef_plugin' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
