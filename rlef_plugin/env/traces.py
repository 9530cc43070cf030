"""What a program's error stream tells the model: its own frames, its own lines, nothing of the machine.

A traceback keeps the frames of the program, with the source line taken from the program's text, and the lines that say
what was raised. Frames of libraries and of the runner go, as do those beyond the program's last line, which are of
what was put behind it to call it (`calls.py`), and absolute paths in messages shrink to their last part. An error
stream without a traceback (a message of `sys.exit`, say) stays as it is.
Not promised: that a program cannot *print* a path it saw; what can be seen in there is the jail's business.
"""

import re

from rlef_plugin.env.code import FILE_NAME

_TITLE = "Traceback (most recent call last):"
_FRAME = re.compile(r'\s*File "(.*)", line (\d+)(?:, in (.*))?')
_CUT_FRAME = re.compile(r'.*", line \d+, in .*')  # the first line of a stream that was cut in the middle of a path
# Two parts at least, the first of them a name: "/3/4" and "a/b" in a message are the program's data.
_PATH = re.compile(r"(?<![\w/.])/[A-Za-z_][^\s/'\":,;()<>\[\]]*(?:/[^\s/'\":,;()<>\[\]]+)*/([^\s/'\":,;()<>\[\]]*)")


def clean_trace(error: str, code: str) -> str:
    """`error`, the end of the error stream of `code`, as the model may see it."""
    at = error.find(_TITLE)
    lines = error[max(at, 0) :].strip("\n").split("\n")
    if not any(_FRAME.fullmatch(line) for line in lines):
        return "\n".join(lines)
    source = code.split("\n")
    kept: list[str] = []
    own = echo = (
        False  # whether the last frame was the program's; whether we are in the lines that quote a frame's source
    )
    for line in lines:
        frame = _FRAME.fullmatch(line)
        if frame:
            own, echo = frame[1].rpartition("/")[2] == FILE_NAME and int(frame[2]) <= len(source), True
            kept += _frame_lines(int(frame[2]), frame[3], source) if own else []
        elif echo and line.startswith("    "):
            continue  # quoted source and its markers: our own quote stands already
        elif _CUT_FRAME.fullmatch(line) or (line.startswith("  [Previous line repeated") and not own):
            continue
        else:
            echo = False
            kept.append(_PATH.sub(r"\1", line))
    return "\n".join(kept)


def clean_syntax_error(error: str, code: str) -> str:
    """A syntax error as the judge reports it: without the folder of the file, and with the line where it quotes none.

    Errors of the compiler's later passes know a line's number but not its text, and mark a column of nothing.
    """
    error = re.sub(r'(?m)^(\s*File ").*/([^/"\n]*", line \d+)', r"\1\2", error)
    blank = re.compile(rf'(?m)^(\s*File "{re.escape(FILE_NAME)}", line (\d+))\n[ \t]*\n(?:[ \t]*\^+[ \t]*\n)?')
    return blank.sub(lambda match: "\n".join([match[1], *_quoted(int(match[2]), code.split("\n")), ""]), error)


def _quoted(number: int, source: list[str]) -> list[str]:
    """Line `number` of the program as a traceback quotes it, if there is such a line and anything on it."""
    line = source[number - 1].strip() if 0 < number <= len(source) else ""
    return [f"    {line}"] if line else []


def _frame_lines(number: int, function: str | None, source: list[str]) -> list[str]:
    where = f'  File "{FILE_NAME}", line {number}' + (f", in {function}" if function else "")
    return [where, *_quoted(number, source)]
