"""Tests that are calls: values out of a jail, when two are equal, and that a program cannot cheat the comparison."""

import ast
import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_helpers import SyncJudge, sync_judge

from rlef_plugin.env.call_runs import BATCH, NO_VALUE, run_calls
from rlef_plugin.env.calls import Call, as_module, assertion, call_of, matches
from rlef_plugin.env.equality import same
from rlef_plugin.env.values import MAX_VALUE_BYTES, MalformedValue, Opaque, Unordered, dump, parse, show
from rlef_plugin.errors import UsageError
from rlef_plugin.judge import Limits, ProgramResult, TestResult, Verdict
from rlef_plugin.problems import Problem, TestCase

F = Call("f")
LIMITS = Limits(cpu_s=0.5, memory_mb=128)  # filling that takes much less time
_leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.text("\ud800\udfffé\x1e\n", max_size=4)
    | st.binary(max_size=4)
)
_value = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(inner, max_size=4).map(lambda items: Unordered("set", tuple(items)))
        | st.lists(st.tuples(inner, inner), max_size=3).map(lambda items: Unordered("dict", tuple(items)))
    ),
    max_leaves=12,
)


def exact(value: object) -> str:
    """Types, signs of zero and nan included."""
    return repr(value)


@given(_value)
def test_what_is_written_is_read_exactly(value):
    text = dump(value)
    assert text.isascii() and "\n" not in text and "\x1e" not in text
    assert exact(parse(text)) == exact(value)
    assert exact(parse(text.encode())) == exact(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1",
        "x",
        '{"a": 1}',
        '{"tuple": 1}',
        '{"tuple": [], "set": []}',
        "{}",
        '{"dict": [[1]]}',
        '{"dict": [1]}',
        '{"dict": [{"tuple": [1, 2]}]}',
        '{"complex": [1]}',
        '{"complex": ["[]", 1]}',
        '{"int": "zz"}',
        '{"int": 5}',
        '{"bytes": "f"}',
        '{"object": []}',
        "9" * 5000,
        "[" * 100_000,
        "[" * 102 + "]" * 102,
        '"' + "a" * MAX_VALUE_BYTES + '"',
        "__import__('os')",
        b"\xff\xfe",
    ],
)
def test_what_is_no_value_is_refused(text):
    with pytest.raises(MalformedValue):
        parse(text)


@given(st.text('[]{}":,tuplesidcxbyo0123456789.eE-+ NaInfy"\\u\x00', max_size=60) | st.text(max_size=40))
def test_any_text_is_a_value_or_refused(text):
    try:
        show(parse(text))
    except MalformedValue:
        pass


def test_the_depth_of_a_value_is_bounded_where_the_driver_stops():
    deepest = "[" * 101 + "]" * 101
    assert same(parse(deepest), parse(deepest))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1,), "(1,)"),
        ((), "()"),
        ([1.0, None, "a'b"], '[1.0, None, "a\'b"]'),
        (Unordered("set", ()), "set()"),
        (Unordered("set", (1, (2,))), "{1, (2,)}"),
        (Unordered("dict", ()), "{}"),
        (Unordered("dict", (("a", [b"\x00"]),)), "{'a': [b'\\x00']}"),
        (Opaque("re.Match"), "<re.Match>"),
        (-(10**4000), hex(-(10**4000))),
    ],
)
def test_values_are_shown_as_python_writes_them(value, text):
    assert show(value) == text


@given(_value.filter(lambda value: "Unordered" not in repr(value) and "nan" not in repr(value)))
def test_shown_values_are_python(value):
    names = {"inf": math.inf, "nanj": complex(0, math.nan), "infj": complex(0, math.inf)}
    assert same(eval(show(value), names), value)


NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "expected", "atol", "equal"),
    [
        (1, 1.0, 0, True),
        (True, 1, 0, True),
        (1 + 0j, 1, 0, True),
        ("1", 1, 0, False),
        ([1], (1,), 0, False),
        ([1, 2], [2, 1], 0, False),
        (NAN, NAN, 0, True),
        ([NAN], [NAN], 0, True),
        (-0.0, 0, 0, True),
        (2**53 + 1, float(2**53), 0, False),
        (None, False, 0, False),
        ("a", b"a", 0, False),
        # Floats: within 1e-6 + 1e-7 of the expected size, only if types are the same.
        (0.1 + 0.2, 0.3, 0, True),
        (1.0000009, 1.0, 0, True),
        (1.0000012, 1.0, 0, False),
        (1000.00009, 1000.0, 0, True),  # 1e-6 + 1e-7 * 1000 = 1.01e-4
        (1000.00011, 1000.0, 0, False),
        ([0.1 + 0.2], [0.3], 0, True),
        ((0.1 + 0.2,), [0.3], 0, False),
        ([0.1 + 0.2, 1], [0.3, 1], 0, False),  # expected is not made of floats only, so it is exact
        (1, 1.0000001, 0, False),
        (3, 3.00005, 1e-4, False),  # types differ
        (3.0, 3.00005, 1e-4, True),
        (3.0, 3.00012, 1e-4, False),
        ([[1.00005]], [[1.0]], 1e-4, True),
        ([[1.00005], []], [[1.0]], 1e-4, False),
        (math.inf, math.inf, 0, True),
        (math.inf, -math.inf, 1, False),
        (10**400, 1.5, 1, False),
        (NAN, 1.0, 1, False),
        # Without order
        (Unordered("set", (1, "a")), Unordered("set", ("a", 1.0)), 0, True),
        (Unordered("set", (1, 1)), Unordered("set", (1,)), 0, False),
        (Unordered("set", ("1",)), Unordered("set", (1,)), 0, False),
        (Unordered("set", (0.5, None)), Unordered("set", (None, 0.5)), 0, True),
        (Unordered("set", ()), Unordered("dict", ()), 0, False),
        (Unordered("set", ((1, "a"),)), Unordered("set", ((True, "a"),)), 0, True),
        (Unordered("set", ("a,sb",)), Unordered("set", ("a", "b")), 0, False),
        (Unordered("dict", ((1, [2]), ("k", 3))), Unordered("dict", (("k", 3), (1.0, [2]))), 0, True),
        (Unordered("dict", ((1, [2]),)), Unordered("dict", ((1, (2,)),)), 0, False),
        ([1], Unordered("set", (1,)), 0, False),
        # An object is like no other.
        (Opaque("a.B"), Opaque("a.B"), 0, False),
        ([Opaque("a.B")], [Opaque("a.B")], 1, False),
        (Unordered("set", (Opaque("a.B"),)), Unordered("set", (Opaque("a.B"),)), 0, False),
    ],
)
def test_equality(value, expected, atol, equal):
    assert same(value, expected, atol) is equal


@given(_value)
def test_a_value_equals_itself_read_again(value):
    assert same(parse(dump(value)), value)


# --- Programs ---


def test_a_program_keeps_its_lines_and_is_not_main():
    code = (
        'from __future__ import annotations\nif __name__ == "__main__": f"é{__name__}"; x = "__name__"\n__name__ = 1\n'
    )
    lines = as_module(code).split("\n")
    assert lines[:3] == [
        "from __future__ import annotations",
        'if "module" == "__main__": f"é{"module"}"; x = "__name__"',
        "__name__ = 1",
    ]
    ast.parse("\n".join(lines))
    assert as_module("__name__ = = 1") == "__name__ = = 1"


@pytest.fixture(scope="module")
def judge():
    with sync_judge(workers=2) as judge:
        yield judge


def calls(judge: SyncJudge, code: str, *tests: tuple[object, object], call: Call = F, **options) -> ProgramResult:
    cases = [TestCase(dump([given]), dump(expected)) for given, expected in tests]
    options = {"stop": False} | options
    return judge.loop.run_until_complete(run_calls(judge.judge, call, code, cases, LIMITS, **options))


def verdicts(result: ProgramResult) -> list[str]:
    return [test.verdict.label for test in result.tests]


TRICKY = """
import math, enum, collections
class Two(enum.IntEnum):
    B = 2
VALUES = [
    None, True, 0, -1, 2**53, -(2**53), 10**5000,
    0.1, -0.0, 1e308 * 10, -math.inf, math.nan, 3-0j, complex("nan+infj"), "",
    "\\ud800\\x00\\x1e\\n\\u2028", b"\\x00\\xff", bytearray(b"a"), (), (1,), "\\ud800\\udfff",
    [[], [()]], set(), {1}, frozenset({"a"}),
    {}, {1: "a", (2,): {3}}, collections.OrderedDict(a=1), collections.Counter("aa"), Two.B, "é",
]
def f(i):
    return VALUES[i]
"""
EXPECTED = [
    *(None, True, 0, -1, 2**53, -(2**53), 10**5000, 0.1, -0.0, math.inf, -math.inf, math.nan, 3 - 0j),
    *(complex("nan+infj"), "", "\ud800\x00\x1e\n\u2028", b"\x00\xff", b"a", (), (1,), "\ud800\udfff", [[], [()]]),
    *(Unordered("set", ()), Unordered("set", (1,)), Unordered("set", ("a",)), Unordered("dict", ())),
    Unordered("dict", ((1, "a"), ((2,), Unordered("set", (3,))))),
    *(Unordered("dict", (("a", 1),)), Unordered("dict", (("a", 2),)), 2, "é"),
]


@pytest.mark.nsjail
def test_values_come_out_of_a_jail_as_they_are(judge):
    result = calls(judge, TRICKY, *enumerate(EXPECTED))
    assert verdicts(result) == ["accepted"] * len(EXPECTED)
    shown = calls(judge, TRICKY, *((place, "no such value") for place in range(len(EXPECTED))))
    assert [test.stdout.decode() for test in shown.tests] == [
        show(value).encode("utf-8", "replace").decode() for value in EXPECTED
    ]


@pytest.mark.nsjail
def test_a_number_of_numpy_is_that_number(judge):
    numbers = "np.int64(3), np.float32(0.5), np.bool_(True), np.array(7), np.uint8(9)"
    code = f"import numpy as np\ndef f(x): return [{numbers}] if x else np.array([3])"
    assert verdicts(calls(judge, code, (1, [3, 0.5, True, 7, 9]), (0, [3]))) == ["accepted", "wrong output"]


def test_arguments_go_in_as_they_are(judge):
    code = "def f(x): return repr(x)"
    given = [
        "\ud800\x00é",
        (1, [2.0, None]),
        Unordered("set", (1,)),
        Unordered("dict", ((1, (2,)),)),
        3j,
        b"\xff",
        2**99,
    ]
    expected = ["'\\ud800\\x00é'", "(1, [2.0, None])", "{1}", "{1: (2,)}", "3j", "b'\\xff'", str(2**99)]
    assert verdicts(calls(judge, code, *zip(given, expected, strict=True))) == ["accepted"] * len(given)


@pytest.mark.nsjail
def test_a_program_may_use_any_name_print_and_hold_a_main_part(judge):
    code = (
        "list = dict = len = open = print_ = json = os = sys = encode = decode = _rlef_call_ = 3\n"
        "def isinstance(*a): return 7\n"
        "print('at the start')\n"
        "def f(x):\n    print('debug', x)\n    return [x]\n"
        "if __name__ == '__main__':\n    raise SystemExit(input())\n"
    )
    assert verdicts(calls(judge, code, (1, [1]))) == ["accepted"]


MIXED = "[x, 1.5, (1,), {2}, {'k': None}, 'é', 2**70, b'a', 3j, True]"
MIXED_VALUE = [7, 1.5, (1,), Unordered("set", (2,)), Unordered("dict", (("k", None),)), "é", 2**70, b"a", 3j, True]
SHADOWED = (
    "str list type isinstance len int repr sorted print Exception dict tuple set frozenset float bool bytes bytearray "
    "complex getattr hex object SystemExit json os after encode decode find_function ENTRY_POINT METHOD_OF names"
).split()
REPLACED = "str list type isinstance len int repr sorted print Exception dict tuple float bool hex SystemExit".split()


@pytest.mark.nsjail
@pytest.mark.parametrize("name", SHADOWED)
def test_a_global_name_of_a_program_does_not_change_the_driver(judge, name):
    code = f"def f(x): return {MIXED}\n{name} = 'an example at the end of an answer'"
    assert verdicts(calls(judge, code, (7, MIXED_VALUE))) == ["accepted"]


@pytest.mark.nsjail
@pytest.mark.parametrize("name", REPLACED)
def test_a_builtin_that_a_program_replaces_does_not_change_the_driver(judge, name):
    code = f"import builtins\ndef f(x): return {MIXED}\nbuiltins.{name} = lambda *_: 1 / 0"
    assert verdicts(calls(judge, code, (7, MIXED_VALUE))) == ["accepted"]


@pytest.mark.nsjail
@pytest.mark.parametrize(
    "change",
    [
        "import json; json.loads = json.dumps = json.encoder = json.decoder = None",
        "import os; os.write = os.read = os.pread = os.lseek = None",
        "import sys, io; sys.stdin = io.StringIO('other'); sys.stdout = io.StringIO()",
        "import sys; sys.stdin = sys.stdout = None",
        "globals().pop('__builtins__')",
        "import sys; sys.modules.clear()",
    ],
)
def test_a_module_that_a_program_changes_does_not_change_the_driver(judge, change):
    assert verdicts(calls(judge, f"def f(x): return {MIXED}\n{change}", (7, MIXED_VALUE))) == ["accepted"]


@pytest.mark.nsjail
def test_a_program_sees_nothing_of_the_driver(judge):
    code = """
import builtins, sys
def f(x):
    names = set(globals()) | set(vars(builtins)) | set(sys.modules)
    return sorted(names & {"after", "encode", "decode", "find_function", "read_json", "ENTRY_POINT", "driver"})
"""
    assert verdicts(calls(judge, code, (7, []))) == ["accepted"]


@pytest.mark.nsjail
@pytest.mark.parametrize(
    ("code", "verdict", "error"),
    [
        ("def g(x): return x", "exception", "The program does not define f."),
        (
            "input()\ndef f(x): return x",
            "exception",
            "which it must leave alone.",
        ),
        ("import os\ndef f(x): os._exit(0)", "exception", NO_VALUE),
        ("def f(x): raise SystemExit", "exception", NO_VALUE),
        ("def f(x):\n    while True: pass", "timeout", ""),
        ("def f(x): return 'a' * 2**21", "output limit", ""),
        ("def f(x): return bytearray(2**31)", "out of memory", ""),
        ("def f(x, y): return x", "exception", "TypeError: f() missing 1 required positional argument: 'y'"),
    ],
)
def test_what_can_go_wrong_is_a_verdict(judge, code, verdict, error):
    result = calls(judge, code, (1, 1))
    assert verdicts(result) == [verdict]
    assert result.tests[0].error.strip().endswith(error)


@pytest.mark.nsjail
def test_code_that_only_the_jail_refuses_is_invalid(judge):
    for stop in (False, True):
        result = calls(judge, "x = 1\nreturn x", (1, 1), stop=stop)
        assert (result.verdict, result.tests) == (Verdict.INVALID_CODE, ())
        assert "line 2" in result.error and "'return' outside function" in result.error


ATTACKS = {
    "an object that equals everything": """
class Any:
    def __eq__(self, other): return True
    def __hash__(self): return 0
def f(x): return Any()""",
    "a text that equals everything": """
class Any(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def f(x): return Any('x')""",
    "looking through memory": """
import gc, sys
def texts(value, seen, depth=0):
    if id(value) in seen or depth > 6: return
    seen.add(id(value))
    if isinstance(value, str) and value.startswith('SECRET') and len(value) > 6: yield value
    for one in gc.get_referents(value): yield from texts(one, seen, depth + 1)
def f(x):
    frame, seen = sys._getframe(), set()
    while frame:
        for found in texts(frame.f_locals, seen): return found
        for found in texts(frame.f_globals, seen): return found
        frame = frame.f_back
    for value in gc.get_objects():
        for found in texts(value, seen): return found
    return 'nothing'""",
    "forged values": """
import os
def f(x):
    os.write(1, b'\\n\\x1etrue\\n\\x1e"SECRET"\\n\\x1e{"object": "a"}\\n' * 3)
    os._exit(0)""",
    "a comparison of one's own": """
import json, builtins
json.dumps = lambda value: '{"accepted": true}'
def f(x): return 1""",
}


@pytest.mark.nsjail
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("stop", [False, True])
def test_a_program_cannot_pass_without_the_value(judge, attack, stop):
    result = calls(judge, ATTACKS[attack], (1, "SECRET value"), (2, "SECRET other"), stop=stop)
    assert result.verdict == Verdict.WRONG_OUTPUT
    assert "accepted" not in verdicts(result)


DOUBLE = [(number, 2 * number) for number in range(3 * BATCH)]


@pytest.mark.nsjail
@pytest.mark.parametrize(
    ("body", "ran", "last"),
    [
        ("return 2 * x", 3 * BATCH, "accepted"),
        (f"return 2 * x if x != {BATCH + 5} else 1", BATCH + 6, "wrong output"),
        (f"return 2 * x // (x != {BATCH + 5})", BATCH + 6, "exception"),
        (f"while x == {BATCH + 5}: pass\n    return 2 * x", BATCH + 6, "timeout"),
        # Right alone, wrong after other calls: batches must not decide.
        ("seen.append(x)\n    return 2 * x if len(seen) < 9 else 0", 3 * BATCH, "accepted"),
        ("seen.append(x)\n    if len(seen) > 9: raise SystemExit(3)\n    return 2 * x", 3 * BATCH, "accepted"),
    ],
)
def test_judging_stops_at_the_first_failure_and_batches_only_accept(judge, body, ran, last):
    result = calls(judge, f"seen = []\ndef f(x):\n    {body}", *DOUBLE, stop=True)
    assert verdicts(result) == ["accepted"] * (ran - 1) + [last]
    assert result.verdict.label == last


class CountingJudge:
    """Passes on to a judge; keeps how many processes each program got."""

    def __init__(self, judge) -> None:
        self.judge, self.processes = judge, []

    async def run(self, program, inputs, limits, **options):
        ran = await self.judge.run(program, inputs, limits, **options)
        self.processes.append(len(ran.tests))
        return ran


@pytest.mark.nsjail
def test_passing_tests_share_processes_and_public_ones_do_not(judge):
    counting = CountingJudge(judge.judge)
    tests = [TestCase(dump([x]), dump(y)) for x, y in [*DOUBLE, *DOUBLE]]
    for stop, processes in ((True, [1, 4, 1]), (False, [6 * BATCH])):
        counting.processes = []
        running = run_calls(counting, F, "def f(x): return 2 * x", tests, Limits(), stop=stop)
        assert judge.loop.run_until_complete(running).accepted
        assert counting.processes == processes


# --- What of a result counts, and how a test is shown ---


ROOT_TEST = "assert abs(poly([-2, 0, 1], f([-2, 0, 1]))) <= 0.0001"
NO_ORDER = Unordered("set", (1, 2))
FOUND = Opaque("re.Match")


@pytest.mark.parametrize(
    ("call", "given", "expected", "right", "wrong", "shown"),
    [
        (F, ["a", (1,)], [1], [[1]], [(1,)], "assert f('a', (1,)) == [1]"),
        (Call("f", "Solution", compare="json"), [1], [1, []], [(1, ())], [[1]], "assert Solution().f(1) == [1, []]"),
        (Call("f", compare="set"), [1], (1, 2), [[2, 1, 1], NO_ORDER], [(1,), 1], "assert set(f(1)) == set((1, 2))"),
        (Call("f", compare="truth"), [1], True, [FOUND, 1], [None, "", Unordered("set", ())], "assert f(1)"),
        (Call("f", compare="truth"), [1], False, [None, 0], [FOUND], "assert not f(1)"),
        # x^2 - 2: at 1.4142 it is 2 * 1.4142 * 1.4e-5 = 4e-5 from 0, at 1.4141 3.2e-4
        (Call("f", compare="root", atol=1e-4), [[-2, 0, 1]], 1.41421, [1.4142], [1.4141, NAN, "x"], ROOT_TEST),
        (Call("f", compare="root", atol=1e-4), [[-2, 0, 1]], 1.41421, [], [1e300, None, 10**400], ROOT_TEST),
    ],
)
def test_comparisons(call, given, expected, right, wrong, shown):
    test = TestCase(dump(given), dump(expected))
    assert [matches(call, test, value) for value in (*right, *wrong)] == [True] * len(right) + [False] * len(wrong)
    assert assertion(call, test) == shown


def test_a_problem_says_what_is_called():
    tests = (TestCase("[1]", "1"),)
    assert call_of(Problem("a", "b", tests, tests)) is None
    assert call_of(Problem("a", "b", tests, tests, metadata={"call": {"entry_point": "f", "atol": 0.5}})) == Call(
        "f", atol=0.5
    )
    with pytest.raises(UsageError, match="problem 'a' has metadata.call=.*'entrypoint'.*build its store again"):
        call_of(Problem("a", "b", tests, tests, metadata={"call": {"entrypoint": "f"}}))


def test_large_values_are_compared_beside_the_event_loop(monkeypatch):
    """The loop goes on while a value of 100 kB is parsed."""
    from types import SimpleNamespace

    from rlef_plugin.env import call_runs
    from rlef_plugin.judge import TestResult

    ran = TestResult(Verdict.ACCEPTED, 0, 0, 0, b'\n\x1e"' + b"a" * 100_000 + b'"\n', "")
    events: list[str] = []
    loop_went_on = asyncio.Event()

    def slow(*arguments):
        asyncio.run_coroutine_threadsafe(_set(), events_loop).result(10)
        events.append("compared")
        return Verdict.ACCEPTED, ""

    async def _set():
        loop_went_on.set()

    async def judged():
        nonlocal events_loop
        events_loop = asyncio.get_running_loop()

        async def run(*_, **__):
            return ProgramResult(Verdict.ACCEPTED, (ran,))

        return await run_calls(SimpleNamespace(run=run), F, "", [TestCase("[1]", "1")], Limits(), stop=False)

    events_loop = None
    monkeypatch.setattr(call_runs, "_verdict", slow)
    assert asyncio.run(judged()).accepted
    assert events == ["compared"] and loop_went_on.is_set()


@pytest.mark.nsjail
def test_each_call_of_a_method_has_an_object_of_its_own(judge):
    counting = CountingJudge(judge.judge)
    code = "class Solution:\n    def f(self, x):\n        self.x = getattr(self, 'x', 0) + x\n        return self.x"
    tests = [TestCase(dump([x]), dump(x)) for x in range(5)]
    running = run_calls(counting, Call("f", "Solution"), code, tests, Limits(), stop=True)
    assert judge.loop.run_until_complete(running).accepted
    assert counting.processes == [1]  # the batch is right, so nothing is run again alone


def test_killed_tests_are_counted_once() -> None:
    """Not those of a batch, whose tests are run again alone."""

    class Killing:
        async def run(self, program: str, inputs: list[str], limits: Limits, **_: bool) -> ProgramResult:
            dead = TestResult(Verdict.OUT_OF_MEMORY, 0.1, 0.1, 9.0, b"", "")
            return ProgramResult(Verdict.OUT_OF_MEMORY, (dead,), killed=1)

    for stop in (False, True):
        tests = [TestCase("[1]", "1")]
        result = asyncio.run(run_calls(Killing(), F, "", tests, Limits(), stop=stop))  # type: ignore[arg-type]
        assert (result.verdict, result.killed) == (Verdict.OUT_OF_MEMORY, 1)
