"""The episode, in the order of its data:

    templates  the wording, files a user can replace
    base       Environment: problem, responses, feedback, final judging; subclass it for your own task
    code       the program in a response
    traces     what of an error stream the model may see
    feedback   the message about failed tests, within a token budget
    reward     a number for each response
    codecontests  the environment of the paper, made of these
    functions    tasks whose tests are calls: humaneval, mbpp, livecodebench
                 (calls, call_runs, call_driver, values, equality: calls in the jail, values outside)
    dialog     messages to token ids by the model's own chat template

Nothing here imports torch, ray or the host: an episode can be played in any process that has a judge.
"""

import importlib

from rlef_plugin.env.base import EnvConfig, Environment, ProblemLookup, Step
from rlef_plugin.env.code import Extraction, extract_code
from rlef_plugin.env.codecontests import CodeContestsEnv
from rlef_plugin.env.dialog import Dialog, check_fits
from rlef_plugin.env.functions import FunctionEnv
from rlef_plugin.env.humaneval import HumanEvalPlusEnv
from rlef_plugin.env.livecodebench import LiveCodeBenchEnv
from rlef_plugin.env.mbpp import MBPPPlusEnv
from rlef_plugin.errors import UsageError

__all__ = [
    "CodeContestsEnv",
    "Dialog",
    "EnvConfig",
    "Environment",
    "Extraction",
    "FunctionEnv",
    "HumanEvalPlusEnv",
    "LiveCodeBenchEnv",
    "MBPPPlusEnv",
    "ProblemLookup",
    "Step",
    "check_fits",
    "extract_code",
    "load_environment",
]


def load_environment(path: str) -> type[Environment]:
    """The Environment subclass at an import path such as `my_package.my_module.MyEnv`; UsageError if there is none."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"--env {path!r} cannot be imported ({error}): give module.Class, importable from here."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Environment)):
        raise UsageError(f"--env {path!r} is not a subclass of rlef_plugin.Environment: give the path of one.")
    return found
