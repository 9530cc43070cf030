"""LiveCodeBench's code generation: programs that read and write, and methods of a class `Solution`, in one store.

Meant for evaluation; stores are built by `rlef data build` from its files (problems/livecodebench.py).
"""

from rlef_plugin.env.functions import FunctionEnv
from rlef_plugin.problems.records import Problem


class LiveCodeBenchEnv(FunctionEnv):
    """Either kind of problem is judged and shown as what it is."""

    def first_message(self, problem: Problem) -> str:
        starter = problem.metadata.get("starter", "")
        if not starter:
            return super().first_message(problem)
        return self.prompts.fill("solve_with_starter", description=problem.description, starter=starter.rstrip())
