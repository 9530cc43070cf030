"""HumanEval+ (docs/paper.md section 5): complete a function from its signature and docstring.

The starter code is in the first message, and every response opens with it, so that a model goes on where it ends. A
response that writes the function anew, in a block of its own, counts as well. Stores are built by `rlef data build`
from evalplus's file (problems/evalplus.py).
"""

from rlef_plugin.env.functions import FunctionEnv
from rlef_plugin.problems.records import Problem


class HumanEvalPlusEnv(FunctionEnv):
    """Base tests are public, plus tests decide."""

    def first_message(self, problem: Problem) -> str:
        starter = self.shown(problem, "starter").rstrip()
        # It ends with a line end: common tokenizers join that to what stands before it, never to the next line.
        self.prefill = f"```python\n{starter}\n"
        return self.prompts.fill("complete_function", starter=starter)
