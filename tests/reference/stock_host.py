"""The installed host's own numerics, read from its files, without what importing the host costs (about a minute).

The files are executed as they are; only what they import and the numerics never touch is a stand-in. The
module table is as before afterwards, so a test that needs the real host still gets it.
"""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

STAND_INS = (
    "deepspeed",
    "ray",
    "openrlhf",
    "openrlhf.models",
    "openrlhf.trainer",
    "openrlhf.trainer.ppo_utils",
    "openrlhf.trainer.ppo_utils.experience",
    "openrlhf.trainer.ppo_utils.length_penalty",
    "openrlhf.trainer.ray",
    "openrlhf.trainer.ray.launcher",
    "openrlhf.utils",
    "openrlhf.utils.logging_utils",
    "openrlhf.utils.seqlen_balancing",
)


@cache
def stock_host() -> SimpleNamespace:
    """The host's classes PolicyLoss, ValueLoss and ExperienceMaker, and two of its functions:

    `gae(values, rewards, action_mask, gamma, lambd)`, and `global_norm(micro_batches, strategy, gas, mask_of)`
    which pairs each micro-batch with the normalisers of its optimiser step.
    """
    spec = importlib.util.find_spec("openrlhf")  # finds the folder without importing anything
    assert spec is not None and spec.submodule_search_locations, "openrlhf is not installed"
    root = Path(spec.submodule_search_locations[0])
    stand_ins = {name: mock.MagicMock() for name in STAND_INS}
    with mock.patch.dict(sys.modules, stand_ins), mock.patch("torch.compile", lambda function: function):
        _execute(root, "openrlhf.models.utils")
        loss = _execute(root, "openrlhf.models.loss")
        norm = _execute(root, "openrlhf.utils.loss_utils")
        maker = _execute(root, "openrlhf.trainer.ppo_utils.experience_maker").RemoteExperienceMaker
    return SimpleNamespace(
        PolicyLoss=loss.PolicyLoss,
        ValueLoss=loss.ValueLoss,
        ExperienceMaker=maker,
        global_norm=norm.iter_grad_accum_global_norm,
        gae=lambda *arguments: maker.get_advantages_and_returns(None, *arguments),
    )


def _execute(root: Path, name: str) -> ModuleType:
    path = root.joinpath(*name.split(".")[1:]).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
