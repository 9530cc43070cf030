"""HumanEval+ and MBPP+ rows as evalplus publishes them -> rows in our schema, for the environments of these names.

A row has inputs only (`base_input`, `plus_input`); what is expected is what its canonical solution returns, in a jail,
once, when the store is built. Base tests become public, plus tests private (where there are none, the base tests
again). Read are also `task_id`, `prompt`, `entry_point`, `canonical_solution`, `atol` and, for MBPP+, `assertion`.

What of the result counts follows from the row: the prompt of MBPP+ asserts `set(f(...)) == set(...)` where order is
free; a canonical solution that returns a match object means "found"; and two lists of names, below, hold what the
rows do not say. A test whose canonical solution takes more than `LIMITS`, or returns more than `MAX_VALUE_BYTES`, is
left out, with a warning and a count in the metadata: some have results of hundreds of megabytes. Not here: evalplus's
time limits (multiples of the canonical solution's); the episode's own apply.
"""

import ast
import asyncio
import dataclasses
import logging
import re
from collections.abc import Mapping
from typing import Any

from rlef_plugin.env.call_runs import BATCH, batch, values_of
from rlef_plugin.env.calls import Call, Compare, as_module, driver_text
from rlef_plugin.env.values import MAX_VALUE_BYTES, MalformedValue, Opaque, dump, parse
from rlef_plugin.judge import Judge, JudgeConfig, Limits, TestResult, Verdict, check_verdicts, open_judge
from rlef_plugin.problems.convert import PYTHON3
from rlef_plugin.problems.fields import RowError, kind_of, number, text
from rlef_plugin.problems.typed_inputs import example_calls, typed_arguments

logger = logging.getLogger(__name__)

LIMITS = Limits(cpu_s=5, memory_mb=1024)  # of a canonical solution, below what an episode gives a program
TOO_MUCH = object()
KEYS = ("base_input", "plus_input")
FIELDS = (*KEYS, *"task_id prompt entry_point canonical_solution atol assertion".split())
# Their canonical solutions list a set in whatever order it has, so an equal set is as right.
ANY_ORDER = ("find_dissimilar", "Diff")
ROOT = "find_zero"  # of HumanEval/32: a polynomial may have several roots, and the canonical solution finds one


class EvalPlus:
    """`with EvalPlus() as adapt: build_store(source, out, adapt=adapt)`; holds a judge while it is open."""

    columns = frozenset(FIELDS)

    def __init__(self, judge: JudgeConfig | None = None) -> None:
        self._config = judge

    def __repr__(self) -> str:
        return f"EvalPlus({LIMITS})"

    def __enter__(self) -> "EvalPlus":
        self._loop = asyncio.new_event_loop()
        self._judge: Judge = self._loop.run_until_complete(self._open())
        return self

    async def _open(self) -> Judge:
        judge = await open_judge(self._config)
        try:
            await check_verdicts(judge)
        except BaseException:
            await judge.close()
            raise
        return judge

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._judge.close())
        self._loop.close()

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One row in our schema.

        Raises:
            RowError: it is not as evalplus's are, or its canonical solution fails.
            SandboxError: the judge is broken.
        """
        prompt, name = text(row.get("prompt"), "prompt"), text(row.get("entry_point"), "entry_point")
        mbpp = "assertion" in row
        code = text(row.get("canonical_solution"), "canonical_solution")
        code = code if mbpp else prompt + code
        examples = example_calls(text(row["assertion"], "assertion"), name) if mbpp else []
        inputs = {key: [dump(typed_arguments(one, examples)) for one in _inputs(row, key)] for key in KEYS}
        call = Call(name, atol=number(row.get("atol", 0), "atol"), compare=_compare(prompt, name))
        call, outputs = self._expected(code, call, inputs["base_input"] + inputs["plus_input"])
        border = len(inputs["base_input"])
        base, base_left = _tests(inputs["base_input"], outputs[:border])
        plus, plus_left = _tests(inputs["plus_input"], outputs[border:])
        task = text(row.get("task_id"), "task_id")
        if left_out := base_left + plus_left:
            logger.warning("%s: %d tests left out, whose results take too long or too much room", task, left_out)
        return {
            "name": task,
            "description": _sentence(prompt) if mbpp else prompt,
            "public_tests": base,
            "private_tests": plus if plus["input"] else base,
            "source": "mbpp+" if mbpp else "humaneval+",
            "solutions": {"language": [PYTHON3], "solution": [code]},
            "metadata": {
                "call": dataclasses.asdict(call),
                "left_out": left_out,
                **({"example": _example(prompt)} if mbpp else {"starter": prompt}),
            },
        }

    def _expected(self, code: str, call: Call, inputs: list[str]) -> tuple[Call, list[str | None]]:
        """What the canonical solution returns, None where that is too much; and the call, for only now it is known
        whether the value is a mere object."""
        running = self._loop.run_until_complete
        program, driver = as_module(code), driver_text(call)
        parts = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
        lines: list[bytes] = []
        together = running(self._judge.run(program, [batch(part) for part in parts], LIMITS, driver=driver))
        if together.verdict == Verdict.INVALID_CODE:
            raise RowError("canonical_solution", f"is not Python ({together.error})")
        for part, one in zip(parts, together.tests, strict=True):
            found = values_of(one)
            if one.verdict != Verdict.ACCEPTED or len(found) != len(part):
                alone = [batch([one]) for one in part]
                found = [_value(ran) for ran in running(self._judge.run(program, alone, LIMITS, driver=driver)).tests]
            lines += found
        try:
            values = [parse(line) if 0 < len(line) <= MAX_VALUE_BYTES else TOO_MUCH for line in lines]
        except MalformedValue as error:
            raise RowError("canonical_solution", f"does not return a value ({error})") from None
        if any(isinstance(value, Opaque) for value in values):
            call = dataclasses.replace(call, compare="truth")
            return call, [None if value is TOO_MUCH else dump(value is not None) for value in values]
        pairs = zip(lines, values, strict=True)
        return call, [None if value is TOO_MUCH else line.decode() for line, value in pairs]


def _value(ran: TestResult) -> bytes:
    """What one call printed; nothing if it took too much."""
    if ran.verdict == Verdict.EXCEPTION:
        raise RowError("canonical_solution", f"raises {ran.error.strip().rpartition(chr(10))[2]}")
    return (values_of(ran) or [b"none"])[-1] if ran.verdict == Verdict.ACCEPTED else b""


def _inputs(row: Mapping[str, Any], key: str) -> list[list[Any]]:
    """Lists of arguments; the file has {} in place of a list where a task has no plus inputs."""
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(one, list) for one in value):
        raise RowError(key, f"is {kind_of(value)}, not a list of lists of arguments")
    if not value and key == "base_input":
        raise RowError(key, "is empty")
    return value


def _tests(inputs: list[str], outputs: list[str | None]) -> tuple[dict[str, list[str]], int]:
    """Those with an expected value, and the number of the others."""
    kept = [(given, output) for given, output in zip(inputs, outputs, strict=True) if output is not None]
    columns = {"input": [given for given, _ in kept], "output": [output for _, output in kept]}
    return columns, len(inputs) - len(kept)


def _compare(prompt: str, name: str) -> Compare:
    if name == ROOT:
        return "root"
    return "set" if name in ANY_ORDER or re.search(rf"assert set\({name}\s*\(", prompt) else "value"


def _sentence(prompt: str) -> str:
    """The task of MBPP+'s prompt: its docstring without the assertion at its end."""
    return _docstring(prompt).partition("\nassert ")[0].strip()


def _example(prompt: str) -> str:
    _, begin, rest = _docstring(prompt).partition("\nassert ")
    return (begin + rest).strip()


def _docstring(prompt: str) -> str:
    try:
        return ast.get_docstring(ast.parse(prompt)) or ""
    except SyntaxError as error:
        raise RowError("prompt", f"is not Python ({error})") from None
