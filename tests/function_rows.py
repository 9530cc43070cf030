"""A few rows in the layouts in which HumanEval+, MBPP+ and LiveCodeBench are published, with tasks of our own."""

import base64
import gzip
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def published(name: str) -> list[dict[str, Any]]:
    """Rows of the real file; skips the test where it is not at hand."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {DATA}: the real rows are not part of this repository")
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


SPREAD = {
    "task_id": "HumanEval/0",
    "prompt": (
        "from typing import List\n\n\ndef spread(numbers: List[int]) -> int:\n"
        '    """ The largest less the smallest number; 0 for an empty list.\n    >>> spread([3, 1])\n    2\n    """\n'
    ),
    "entry_point": "spread",
    "canonical_solution": "    return max(numbers) - min(numbers) if numbers else 0\n",
    "base_input": [[[3, 1]], [[]]],
    "plus_input": [[[-5, 5, 0]], [[7]], [[1.5, 1]]],
    "atol": 0,
    "contract": "",
    "test": "",
}
THIRD = {
    "task_id": "HumanEval/1",
    "prompt": 'def halve(x):\n    return x / 2\n\n\ndef sixth(x):\n    """A sixth of x."""\n',
    "entry_point": "sixth",
    "canonical_solution": "    return halve(x) / 3\n",
    "base_input": [[6]],
    "plus_input": [[1], [10**6]],
    "atol": 1e-6,
}
HUMANEVAL = [SPREAD, THIRD]


def mbpp(number: int, name: str, task: str, assertions: list[str], solution: str, **fields: Any) -> dict[str, Any]:
    return {
        "task_id": f"Mbpp/{number}",
        "prompt": f'"""\n{task}\n{assertions[0]}\n"""\n',
        "entry_point": name,
        "canonical_solution": solution,
        "assertion": "\n".join(["", *assertions, ""]),
        "atol": 0,
        "contract": "",
        **fields,
    }


SHARED = mbpp(
    2,
    "shared",
    "Write a function to find what two tuples share.",
    ["assert set(shared((3, 4), (4, 5))) == set((4,))", "assert set(shared((1,), (2,))) == set(())"],
    "def shared(a, b):\n    return tuple(set(a) & set(b)) if isinstance(a, tuple) else 'no tuple'\n",
    base_input=[[[3, 4], [4, 5]], [[1], [2]]],
    plus_input=[[[1, 2, 3], [3, 2]], [[], []]],
)
VOWEL = mbpp(
    3,
    "vowel",
    "Write a function to check whether a text begins with a vowel.",
    ['assert vowel("a")', 'assert not vowel("b")'],
    "import re\ndef vowel(text):\n    return re.match('[aeiou]', text)\n",
    base_input=[["a"], ["b"]],
    plus_input=[["e"], [""]],
)
LENGTH = mbpp(
    4,
    "length",
    "Write a function to find the absolute value of a complex number.",
    ["assert length(3+4j) == 5.0"],
    "def length(z):\n    return abs(z)\n",
    base_input=[["(3+4j)"]],
    plus_input={},
    atol=0.0001,
)
MBPP = [SHARED, VOWEL, LENGTH]


def packed(text: str) -> str:
    """As LiveCodeBench packs private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode()


def cases(kind: str, *tests: tuple[str, str]) -> str:
    return json.dumps([{"input": given, "output": output, "testtype": kind} for given, output in tests])


STDIN_ROW = {
    "question_title": "Sum",
    "question_content": "Print the sum of two numbers.",
    "platform": "atcoder",
    "question_id": "abc001_a",
    "contest_date": "2024-01-06T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": cases("stdin", ("1 2\n", "3\n")),
    "private_test_cases": packed(cases("stdin", ("5 6\n", "11\n"), ("0 0\n", "0\n"))),
    "metadata": "{}",
}
CALL_ROW = {
    "question_title": "Pairs",
    "question_content": "Return every number with its index.",
    "platform": "leetcode",
    "question_id": "3001",
    "contest_date": "2024-02-01T00:00:00",
    "starter_code": "class Solution:\n    def pairs(self, nums: List[int], start: int) -> List[List[int]]:\n        ",
    "difficulty": "medium",
    "public_test_cases": cases("functional", ("[5, 6]\n0", "[[0, 5], [1, 6]]")),
    "private_test_cases": cases("functional", ("[]\n7", "[]"), ("[9]\n3", "[[3, 9]]")),
    "metadata": '{"func_name": "pairs"}',
}
LIVECODEBENCH = [STDIN_ROW, CALL_ROW]
