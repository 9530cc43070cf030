"""The program in a response: which fenced block counts, and whether it is Python at all; and the block of a program.

The last block marked python (py, python3, py3; any case) counts; if there is none, the last block without a language;
else the response holds no code. A block with nothing in it does not count, and where a function is asked for, the last
block that defines it comes before later ones, which show how it is used. Blocks are found as CommonMark does, with
three additions for what models write: a new fence with a language starts a new block even if the one before was not
closed; a fence marked markdown is looked into; a block that the end of the response cuts off counts as it is. Indented
code (a block inside a list) is moved to the left margin.

`extract_code` never raises. It *parses* in this process and goes no further: the compiler's later passes take
exponential time on some texts of a few hundred characters (nested `finally`), so what only they refuse (`return`
outside a function) is left to the judge, which compiles inside the jail and answers INVALID_CODE. Parsing
MAX_CODE_CHARS takes at most some 0.2 s.
"""

from __future__ import annotations

import ast
import re
import textwrap
import traceback
import warnings
from dataclasses import dataclass

MAX_CODE_CHARS = 50_000
FILE_NAME = "solution.py"  # what the judge calls the program too, so that traces and syntax errors speak of one file

_PYTHON = {"python", "py", "python3", "py3"}
_CONTAINERS = {"markdown", "md"}
# Indentation, list markers, then the fence: a run of backticks with an info string without backticks, or of tildes.
_FENCE = re.compile(r"[ \t]*((?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(?:(`{3,})([^`]*)|(~{3,})(.*))\Z")


@dataclass(frozen=True, slots=True)
class Extraction:
    """A program, or why there is none."""

    code: str | None  # None: the response holds no valid code
    reason: str = ""  # one sentence to the model, if there is no valid code
    syntax_error: str = ""  # Python's own words, if there was a block and it does not parse


def extract_code(response: str, defining: str | None = None) -> Extraction:
    """The program that counts in `response`; `defining`: the function or class that it is to define."""
    blocks = _blocks(response.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    python = [_at_margin(code) for language, code in blocks if language in _PYTHON]
    plain = [_at_margin(code) for language, code in blocks if not language]
    filled = [[code for code in kind if code.strip()] for kind in (python, plain)]
    chosen = filled[0] or python or filled[1]
    if not chosen:
        return Extraction(None, "Your reply contains no block in triple backticks marked python.")
    defines = re.compile(rf"(?m)^(?:(?:async +)?def|class) +{defining}\b|^{defining} *=") if defining else None
    return check_syntax(next((code for code in reversed(chosen) if defines and defines.search(code)), chosen[-1]))


def fenced(program: str) -> str:
    """A python block that no text in the program can end."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", program))])
    return f"{fence}python\n{program}\n{fence}"


def check_syntax(code: str) -> Extraction:
    """Whether `code` parses as a Python program of a sane size."""
    if not code.strip():
        return Extraction(None, "The python block of your reply is empty.")
    if len(code) > MAX_CODE_CHARS:
        return Extraction(None, f"Your program has {len(code)} characters; at most {MAX_CODE_CHARS} are allowed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a string is a warning, not an error
            compile(code, FILE_NAME, "exec", flags=ast.PyCF_ONLY_AST, dont_inherit=True)
    except SyntaxError as error:
        return invalid_syntax("".join(traceback.format_exception_only(error)))
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:  # the parser's answers to hostile texts
        return invalid_syntax(f"{type(error).__name__}: {error}")
    return Extraction(code)


def invalid_syntax(error: str) -> Extraction:
    """For code that does not compile, whoever found out: this module or the judge."""
    return Extraction(None, "The program is not valid Python.", error.strip())


def _blocks(lines: list[str]) -> list[tuple[str, str]]:
    """All fenced blocks as (language in lower case, code); "" for a fence without a language."""
    blocks: list[tuple[str, str]] = []
    containers: list[str] = []  # fences of the markdown blocks we are in
    fence, margin, language, code = "", 0, "", list[str]()  # the open block; fence "" outside of any
    for line in lines:
        marker, run, info, column = _fence(line)
        if fence:
            if marker or not _ends(run, fence) or column > margin + 3:  # indented that far it is a docstring's own
                code.append(line)
                continue
            blocks.append((language, "\n".join(code)))
            fence = ""
            if not info:
                continue  # else the model forgot to close the block before it opened the next
        if not run:
            continue
        if not info and containers and _ends(run, containers[-1]):
            containers.pop()
        elif _language(info) in _CONTAINERS:
            containers.append(run)
        else:
            fence, margin, language, code = run, column, _language(info), []
    return [*blocks, (language, "\n".join(code))] if fence else blocks


def _fence(line: str) -> tuple[str, str, str, int]:
    """(list markers, run of fence characters, info string, its column); run is "" for a line that is no fence."""
    match = _FENCE.match(line)
    if match is None:
        return "", "", "", 0
    run, start = match[2] or match[4], match.start(2 if match[2] else 4)
    return match[1], run, (match[3] or match[5] or "").strip(), len(line[:start].expandtabs(4))


def _ends(run: str, fence: str) -> bool:
    return run.startswith(fence)  # the same character, at least as many


def _language(info: str) -> str:
    word = re.search(r"\w+", info)  # "python title=x", "{.python}", "python:main.py"
    return word[0].lower() if word else ""


def _at_margin(code: str) -> str:
    """Undo the indentation of a list item. Code that starts at the margin is not touched, nor are its strings."""
    lines = code.split("\n")
    first = next((line for line in lines if line.strip()), "")
    return textwrap.dedent(code) if first[:1].isspace() else code
