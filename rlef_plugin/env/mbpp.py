"""MBPP+ (docs/paper.md section 5): write a function from one sentence and one example test.

Stores are built by `rlef data build` from evalplus's file (problems/evalplus.py).
"""

from rlef_plugin.env.functions import FunctionEnv
from rlef_plugin.problems.records import Problem


class MBPPPlusEnv(FunctionEnv):
    """Base tests are public, plus tests decide."""

    def first_message(self, problem: Problem) -> str:
        return self.prompts.fill(
            "write_function", description=problem.description, example=self.shown(problem, "example")
        )
