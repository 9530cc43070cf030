"""Which program a response holds: one shape of response a test, and that no text at all raises."""

import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlef_plugin.env.code import MAX_CODE_CHARS, Extraction, _blocks, check_syntax, extract_code, fenced

NO_BLOCK = "Your reply contains no block in triple backticks marked python."


def code_of(response: str) -> str | None:
    return extract_code(response).code


@pytest.mark.parametrize(
    "response",
    [
        "```python\nx = 1\n```",
        "Here:\n\n```python\nx = 1\n```\nDone.",
        "```Python3\nx = 1\n```",
        "```PY\nx = 1\n```",
        "``` py3 \nx = 1\n```   ",
        "````python\nx = 1\n````",
        "~~~python\nx = 1\n~~~",
        "~~~ python title=`x`\nx = 1\n~~~",
        "```{.python .numberLines}\nx = 1\n```",
        "```python\r\nx = 1\r\n```\r\n",
        "```python\rx = 1\r```",
        "\t```python\n\tx = 1\n\t```",
        "```python\nx = 1",  # cut by length
        "```\nx = 1\n```",
        "~~~\nx = 1\n~~~",
        "```text\nno\n```\n```\nx = 1\n```\n```\n\n```",  # the last one without a language is blank
    ],
)
def test_one_block(response):
    assert code_of(response) == "x = 1"


def test_the_last_python_block_counts():
    assert code_of("```python\nx = 1\n```\ntext\n```py\nx = 2\n```\n```\nx = 3\n```\n```cpp\nx = 4;\n```") == "x = 2"


def test_without_python_the_last_block_without_a_language_counts():
    assert code_of("```\nx = 1\n```\n```cpp\nint x;\n```\n```\nx = 2\n```\n```output\n3\n```") == "x = 2"


def test_the_last_block_counts_even_if_only_an_earlier_one_is_valid():
    assert extract_code("```python\nx = 1\n```\n```python\nx = = 1\n```").syntax_error.endswith(
        "SyntaxError: invalid syntax"
    )


def test_a_longer_fence_holds_shorter_ones():
    assert code_of("````python\ns = '''\n```text\n```\n'''\n````") == "s = '''\n```text\n```\n'''"


def test_a_fence_of_the_other_kind_is_content():
    assert code_of("```python\ns = '''\n~~~\n'''\n```") == "s = '''\n~~~\n'''"
    assert code_of("~~~python\ns = '''\n```python\n'''\n~~~") == "s = '''\n```python\n'''"


@pytest.mark.parametrize("language", ["", "python", "text"])
@pytest.mark.parametrize("indent", ["    ", "\t", "            "])
def test_fences_in_a_docstring_are_content(indent, language):
    code = f'def f():\n{indent}"""\n{indent}```{language}\n{indent}f()\n{indent}```\n{indent}"""\n{indent}return 1'
    assert code_of(f"Text\n```python\n{code}\n```\nmore") == code
    inside_a_list = "\n".join(f"    {line}" for line in f"```python\n{code}\n```".split("\n"))
    assert code_of(f"10. Text\n{inside_a_list}") == code


def test_a_closing_fence_may_be_indented_by_three():
    assert code_of("```python\nx = 1\n   ```\ny") == "x = 1"
    assert code_of("  ```python\n  x = 1\n     ```\ny") == "x = 1"


def test_a_block_left_open_ends_where_the_next_begins():
    assert code_of("```python\nx = 1\n\n```python\nx = 2\n```") == "x = 2"


@pytest.mark.parametrize("outer", ["```", "````", "~~~"])
def test_a_markdown_block_is_looked_into(outer):
    assert code_of(f"{outer}markdown\n```python\nx = 1\n```\n{outer}\nand then\n```\nx = 2\n```") == "x = 1"
    assert code_of(f"{outer}md\ntext\n{outer}\n```\nx = 2\n```") == "x = 2"


@pytest.mark.parametrize(
    "response",
    [
        "- Solution:\n  ```python\n  if x:\n      y = 1\n  ```",
        "1. ```python\n   if x:\n       y = 1\n   ```",
        "- a\n    - ```python\n      if x:\n          y = 1\n      ```",
        "```python\n    if x:\n        y = 1\n```",
        "* +\t~~~python\n\tif x:\n\t    y = 1\n\t~~~",
    ],
)
def test_a_block_in_a_list_is_moved_to_the_margin(response):
    assert code_of(response) == "if x:\n    y = 1"


def test_code_at_the_margin_is_not_touched():
    code = 'if x:\n\ty = """\n   \n"""\n'
    assert code_of(f"```python\n{code}\n```") == code


@pytest.mark.parametrize(
    "response",
    [
        "",
        "x = 1",
        "`x = 1`",
        "```cpp\nint x;\n```",
        "``python\nx = 1\n``",
        "Use ```python x = 1``` inline",
        "```\n \n```",
        "```",
    ],
)
def test_no_block(response):
    assert extract_code(response) == Extraction(None, NO_BLOCK)


def test_an_empty_python_block_is_no_program():
    assert extract_code("```python\n  \n```") == Extraction(None, "The python block of your reply is empty.")


def test_a_syntax_error_is_told_in_pythons_words():
    found = extract_code("```python\nx = 1\nfor i in range(3)\n    print(i)\n```")
    assert found.code is None and found.reason == "The program is not valid Python."
    assert found.syntax_error == (
        "File \"solution.py\", line 2\n    for i in range(3)\n                     ^\nSyntaxError: expected ':'"
    )


def test_size_is_bounded():
    assert check_syntax("x=1\n" * (MAX_CODE_CHARS // 4)).code is not None
    found = check_syntax("#" * (MAX_CODE_CHARS + 1))
    assert found == Extraction(None, "Your program has 50001 characters; at most 50000 are allowed.")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("x = '\0'", "SyntaxError"),
        ("x = '\ud800'", "UnicodeEncodeError"),
        ("-" * 40_000 + "1", "MemoryError"),
        ("x" + ".x" * 24_000, "RecursionError"),
        ("(" * 300, "SyntaxError"),
        ("9" * 5000, "SyntaxError"),
    ],
)
def test_what_the_parser_cannot_take_is_invalid_code(code, kind):
    assert kind in check_syntax(code).syntax_error


def test_a_compile_bomb_costs_nothing_here():
    # Each `finally` body is compiled twice: 18 levels take the compiler 12 s and 1 GB, parsing them no time.
    levels = "".join(f"{' ' * i}try:\n{' ' * i} x\n{' ' * i}finally:\n" for i in range(19)) + " " * 19 + "x\n"
    started = time.process_time()
    assert check_syntax(levels).code == levels
    assert time.process_time() - started < 0.5


def test_warnings_are_silent_and_never_errors():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        assert check_syntax(r"x = '\d'; assert (1, 'a'); 1 is 1").code is not None
    assert caught == []


_lines = st.sampled_from(
    [
        "```",
        "```python",
        "````py",
        "~~~",
        "~~~python",
        "```markdown",
        "- ```python",
        "  ```",
        "x = 1",
        "def f(:",
        "\t",
        "'''",
    ]
)
_noise = st.text("`~ \t\r\n-1.x=('\"#\\\0\ud800é\u2028\x0c{}", max_size=40)


@settings(max_examples=400, deadline=None)
@given(st.lists(_lines | _noise, max_size=12).map("\n".join))
def test_never_raises_and_code_is_text_of_the_response(response):
    found = extract_code(response)
    assert (found.code is None) == bool(found.reason)
    if found.code is not None:
        compact = "".join(response.split())
        assert "".join(found.code.split()) in compact  # nothing is invented; only white space may differ


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_at_all(text):
    extract_code(text)
    extract_code(f"```python\n{text}\n```")


@given(st.text("abc =1\n\t(:'", max_size=40).filter(lambda code: check_syntax(code).code is not None))
def test_a_valid_program_comes_back_unchanged(code):
    assert code_of(f"Text\n```python\n{code}\n```\nmore") == code


@pytest.mark.parametrize("program", ["x", "````", "a\n```\nb", "'\n```python\n'", "", "`" * 9])
def test_no_program_ends_its_block(program):
    assert _blocks(fenced(program).split("\n")) == [("python", program)]


@pytest.mark.parametrize("empty", ["```python\n```", "```python", "```py\n  \n```"])
def test_an_empty_block_after_the_program_does_not_take_its_place(empty):
    assert code_of(f"```python\nx = 1\n```\nSo:\n{empty}") == "x = 1"


def test_only_empty_blocks_are_said_to_be_empty():
    assert "is empty" in extract_code("```python\n```").reason
    assert "is empty" in extract_code("```python\n```\n```\nx = 1\n```").reason  # marked, so meant


FIRST = "```python\ndef f(x):\n    return x\n```"


@pytest.mark.parametrize(
    ("later", "code"),
    [
        ("```python\nassert f(1) == 1\n```", "def f(x):\n    return x"),
        ("```python\nprint(f(2))  # def f\n```", "def f(x):\n    return x"),
        ("```python\ndef f(y):\n    return y\n```", "def f(y):\n    return y"),
        ("```python\nf = abs\n```", "f = abs"),
        ("```python\nasync def f(): ...\n```", "async def f(): ..."),
        ("```python\nclass f: ...\n```\n```python\nf()\n```", "class f: ..."),
        ("```python\ndef f2(): ...\n```", "def f(x):\n    return x"),
        ("```python\ndef g():\n    def f(): ...\n```", "def f(x):\n    return x"),
    ],
)
def test_a_block_that_shows_how_a_function_is_used_is_not_the_program(later, code):
    assert extract_code(f"{FIRST}\nExample:\n{later}", defining="f").code == code


def test_without_any_definition_the_last_block_counts():
    assert extract_code("```python\nx = 1\n```\n```python\nx = 2\n```", defining="f").code == "x = 2"
