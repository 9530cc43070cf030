"""LiveCodeBench's code generation rows -> rows in our schema, for `LiveCodeBenchEnv`.

A row's tests are JSON text: `public_test_cases` as it is, `private_test_cases` as it is or packed as base64 of zlib of
a pickle of that text. A pickle is a program, so it is never run: its few opcodes are read, and must be those of one
text. Never more than `MAX_TEXT_BYTES` are unpacked. Tests of type "functional" call a method of `Solution`, whose name
is in `metadata`; an input line is a JSON argument. All others read and write text.

Not here: LiveCodeBench's own comparison of printed numbers; ours is CodeContests' (docs/judge.md).
"""

import base64
import binascii
import dataclasses
import itertools
import json
import pickletools
import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

from rlef_plugin.env.call_runs import MAX_EXPECTED_BYTES
from rlef_plugin.env.calls import Call
from rlef_plugin.env.values import MalformedValue, Unordered, dump, parse
from rlef_plugin.problems.fields import RowError, kind_of, optional_text, text

MAX_TEXT_BYTES = 2**30  # of one row's private tests, unpacked
MAX_ARGUMENT_BYTES = 2**26  # an argument's text; expected values have the bound of what a program may print
OWNER = "Solution"
TEXT_OPCODES = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")
FRAME_OPCODES = ("PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
MAX_OPCODES = 8
FIELDS = (
    "question_id question_content platform difficulty contest_date starter_code metadata public_test_cases "
    "private_test_cases"
).split()


@dataclasses.dataclass(frozen=True, slots=True)
class LiveCodeBench:
    """A format of `rlef data build`."""

    columns: ClassVar[frozenset[str]] = frozenset(FIELDS)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One row in our schema.

        Raises:
            RowError: it is not as LiveCodeBench's are.
        """
        public = _cases(text(row.get("public_test_cases"), "public_test_cases"), "public_test_cases")
        packed = text(row.get("private_test_cases"), "private_test_cases")
        private = _cases(_unpacked(packed), "private_test_cases")
        kinds = {case["testtype"] for case in (*public, *private)}
        if len(kinds) != 1:
            raise RowError("public_test_cases", f"and the private ones have the types {sorted(kinds)}, not one")
        called = kinds == {"functional"}
        metadata = {"call": dataclasses.asdict(_call(row)), "starter": row.get("starter_code") or ""} if called else {}
        return {
            "name": text(row.get("question_id"), "question_id"),
            "description": text(row.get("question_content"), "question_content"),
            "public_tests": _tests(public, "public_test_cases", called),
            "private_tests": _tests(private, "private_test_cases", called),
            "source": optional_text(row, "platform"),
            "difficulty": optional_text(row, "difficulty"),
            "metadata": {**metadata, "contest_date": str(row.get("contest_date") or "")},
        }


def _unpacked(value: str) -> str:
    """The JSON text of the private tests."""
    if value.lstrip().startswith("["):
        return value
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(value, validate=True), MAX_TEXT_BYTES)
        if not unpacker.eof:
            raise RowError("private_test_cases", f"is cut off, or larger than {MAX_TEXT_BYTES} bytes")
        return pickled_text(data)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise RowError("private_test_cases", f"is neither JSON nor a packed text ({error})") from None


def pickled_text(data: bytes) -> str:
    """The text that is all there is in a pickle.

    Raises:
        ValueError: there is anything else in it.
    """
    found: list[str] = []
    for opcode, value, _ in itertools.islice(pickletools.genops(data), MAX_OPCODES):
        if opcode.name in TEXT_OPCODES:
            found.append(str(value))
        elif opcode.name == "STOP" and len(found) == 1:
            return found[0]
        elif opcode.name not in FRAME_OPCODES:
            raise ValueError(f"its pickle has the opcode {opcode.name}, but only a text is read")
    raise ValueError(f"its pickle holds {len(found)} texts instead of one")


def _cases(tests: str, field: str) -> list[dict[str, str]]:
    try:
        cases = json.loads(tests)
    except (ValueError, RecursionError) as error:
        raise RowError(field, f"is not JSON ({error})") from None
    if not isinstance(cases, list):
        raise RowError(field, f"is {kind_of(cases)}, not a list")
    keys = ("input", "output", "testtype")
    for place, case in enumerate(cases):
        if not isinstance(case, dict) or not all(isinstance(case.get(key), str) for key in keys):
            raise RowError(f"{field}[{place}]", f"is {kind_of(case)}, not an object with input, output and testtype")
    return cases


def _call(row: Mapping[str, Any]) -> Call:
    try:
        name = json.loads(row.get("metadata") or "{}").get("func_name")
    except (ValueError, AttributeError, TypeError) as error:
        raise RowError("metadata", f"is not a JSON object ({error})") from None
    return Call(text(name, "metadata.func_name"), method_of=OWNER, compare="json")


def _tests(cases: list[dict[str, str]], field: str, called: bool) -> dict[str, list[str]]:
    inputs = [_arguments(case["input"], f"{field}.input") if called else case["input"] for case in cases]
    outputs = [
        _value(case["output"], f"{field}.output", MAX_EXPECTED_BYTES) if called else case["output"] for case in cases
    ]
    return {"input": inputs, "output": outputs}


def _arguments(lines: str, field: str) -> str:
    values = (_value(line, field, MAX_ARGUMENT_BYTES) for line in lines.split("\n") if line.strip())
    return f"[{', '.join(values)}]"


def _value(line: str, field: str, max_bytes: int) -> str:
    """Plain JSON in the form of values.py, which keeps objects for its own tags."""
    try:
        value = dump(_as_dicts(json.loads(line)))
        parse(value, max_bytes)
    except (ValueError, RecursionError, MalformedValue) as error:
        raise RowError(field, f"is {line[:80]!r}, not a JSON value ({error})") from None
    return value


def _as_dicts(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_dicts(one) for one in value]
    if isinstance(value, dict):
        return Unordered("dict", tuple((key, _as_dicts(one)) for key, one in value.items()))
    return value
