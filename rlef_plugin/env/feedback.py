"""The feedback message: what failed, on which input, within a budget of tokens.

Only failing tests are shown; where tests are calls of a function, the passing ones are listed too. Inputs, outputs and
traces stand in fenced blocks whose fence is longer than any run of backticks inside, so that nothing a program prints
can end its block. A message always fits its budget: long excerpts are cut with visible marks, which leave both ends
and, of a wrong output and what was expected, the place where they part. First to `_SMALL` characters each; then later
tests are left out, with a line that counts them; a single test is cut further, down to `_CAPS[0]`, and if even that
does not fit, only the count remains. Then the excerpts grow again, by doubling, while the message fits.
Not here: which tests a mode may show. The caller passes them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rlef_plugin.env.code import Extraction
from rlef_plugin.env.templates import Prompts
from rlef_plugin.env.traces import clean_trace
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.compare import tokens_match
from rlef_plugin.judge.verdicts import Limits, ProgramResult, TestResult, Verdict
from rlef_plugin.problems.records import TestCase

_CAPS = [20 * 2**i for i in range(10)]  # characters kept of each excerpt, tried in this order: 20 to 10,240
_SMALL = 80
_PLACES = "9999"  # stands for a count when checking that a message without excerpts fits

_TEMPLATES = {
    Verdict.WRONG_OUTPUT: "wrong_output",
    Verdict.EXCEPTION: "exception",
    Verdict.TIMEOUT: "timeout",
    Verdict.OUT_OF_MEMORY: "out_of_memory",
    Verdict.OUTPUT_LIMIT: "output_limit",
}
_PREFIX = {False: "", True: "call_"}  # of the templates' names: tests that are text, and tests that are assertions


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed test: a template's name, the texts it may cut and quote, the numbers it does not."""

    template: str
    excerpts: dict[str, str]
    values: dict[str, str] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)  # of an excerpt: a character to keep when it is cut


class FeedbackWriter:
    """Writes messages with one set of prompts under one budget."""

    def __init__(
        self, prompts: Prompts, count_tokens: Callable[[str], int], budget: int, mode: str = "public"
    ) -> None:
        """`mode`: `rlef.feedback`, which says what messages there can be.

        Raises:
            UsageError: one of them exceeds `budget` without any excerpt, in tokens as `count_tokens` counts.
        """
        self._prompts, self._count_tokens, self._budget = prompts, count_tokens, budget
        again = {"try_again.txt": prompts.fill("try_again")}
        labels = ", ".join(one.label for one in _TEMPLATES)
        alone = {"none": again, "verdict_only": {"verdict_only.txt": prompts.fill("verdict_only", verdicts=labels)}}
        bare = alone.get(mode) or {
            "feedback.txt": self._message([], 0, int(_PLACES)),
            "invalid_code.txt": prompts.fill("invalid_code", reason=""),
            "public_passed.txt": prompts.fill("public_passed"),
            **again,
        }
        for name, text in bare.items():
            if (need := count_tokens(text)) > budget:
                raise UsageError(
                    f"rlef.feedback_tokens is {budget}, but {name} alone takes {need}: raise it to {need + 200}."
                )

    def failures(
        self,
        tests: Sequence[TestCase],
        result: ProgramResult,
        code: str,
        limits: Limits,
        *,
        calls: bool = False,
        checked: bool = False,
    ) -> str:
        """The message about the tests that failed; `result.tests` are in the order of `tests` and may be fewer.

        `calls`: the input of a test is an assertion, and those that hold are listed after the others. `checked`: a
        checker decides, so that what a test expects is one of several right outputs.
        """
        pairs = list(zip(tests, result.tests, strict=False))
        failed = [
            _failure(test, run, code, limits, calls, checked) for test, run in pairs if run.verdict != Verdict.ACCEPTED
        ]
        passed = "\n".join(test.input for test, run in pairs if run.verdict == Verdict.ACCEPTED) if calls else ""
        rest = [Failure("call_passed", {"input": passed})] if passed else []
        if not self._fits(self._message([*failed[:1], *rest], _CAPS[0], len(failed) - 1)):
            rest = []
        shown = 1
        while shown < len(failed) and self._fits(
            self._message([*failed[: shown + 1], *rest], _SMALL, len(failed) - shown - 1)
        ):
            shown += 1
        hidden, told = max(len(failed) - shown, 0), [*failed[:shown], *rest]
        return self._largest(lambda cap: self._message(told, cap, hidden), self._message([], 0, len(failed)))

    def invalid_code(self, code: Extraction) -> str:
        """The message about a response without valid code: what was missing, or Python's syntax error."""

        def message(cap: int) -> str:
            quoted = "\n" + _quote(_cut(code.syntax_error, cap)) if code.syntax_error else ""
            return self._prompts.fill("invalid_code", reason=_cut(code.reason, max(cap, _SMALL)) + quoted)

        return self._largest(message, self._prompts.fill("invalid_code", reason=""))

    def _message(self, failures: Sequence[Failure], cap: int, hidden: int) -> str:
        bullets = [
            self._prompts.fill(
                one.template,
                **one.values,
                **{key: _quote(_cut(text, cap, one.places.get(key))) for key, text in one.excerpts.items()},
            )
            for one in failures
        ]
        if hidden:
            bullets.append(self._prompts.fill("more_tests", count=str(hidden)))
        return self._prompts.fill("feedback", tests="\n".join(bullets))

    def _largest(self, message: Callable[[int], str], smallest: str) -> str:
        """The message with the longest excerpts that fits; `smallest`, which is known to fit, if none does."""
        best = smallest
        for cap in _CAPS:
            text = message(cap)
            if text == best or not self._fits(text):  # the same text twice: nothing was cut
                break
            best = text
        return best

    def _fits(self, text: str) -> bool:
        return self._count_tokens(text) <= self._budget


def _failure(test: TestCase, run: TestResult, code: str, limits: Limits, calls: bool, checked: bool) -> Failure:
    excerpts, values, template = {"input": test.input}, {}, _PREFIX[calls] + _TEMPLATES[run.verdict]
    if run.verdict == Verdict.WRONG_OUTPUT:
        excerpts |= {"expected": test.output, "output": _output(run)}
        if checked:
            return Failure("wrong_output_checked", excerpts)
        if not calls:
            parting = _parting(test.output, excerpts["output"])
            return Failure(template, excerpts, places=dict(zip(("expected", "output"), parting, strict=True)))
    elif run.verdict == Verdict.EXCEPTION:
        excerpts["trace"] = clean_trace(run.error, code)
    elif run.verdict == Verdict.TIMEOUT:
        values["seconds"] = f"{limits.cpu_s:g}"
    elif run.verdict == Verdict.OUT_OF_MEMORY:
        values["megabytes"] = str(limits.memory_mb)
    return Failure(template, excerpts, values)


def _output(run: TestResult) -> str:
    """What is kept of it, and that it goes on where it does: its end would pass for the output's."""
    text = run.stdout.decode("utf-8", "replace")
    return f"{text} [... {run.stdout_bytes - len(run.stdout)} more bytes ...]" if run.cut else text


def _parting(expected: str, output: str) -> tuple[int, int]:
    """Where the first words that differ begin in either text; its end where it has no more words."""
    theirs, ours = re.finditer(r"\S+", expected), re.finditer(r"\S+", output)
    while (word := next(theirs, None)) and (other := next(ours, None)):
        if not tokens_match(*(found[0].encode("utf-8", "replace").lower() for found in (other, word))):
            return word.start(), other.start()
    other = next(ours, None)
    return word.start() if word else len(expected), other.start() if other else len(output)


def _cut(text: str, cap: int, place: int | None = None) -> str:
    """`cap` characters of `text`, from both ends and around `place`, with marks for what lies between.

    No mark that is longer than what it stands for.
    """
    third, tail = cap // 3, len(text) - cap // 2
    kept = [(0, cap - cap // 2), (tail, len(text))]
    if place is not None and kept[0][1] - third // 2 < place < tail:
        kept = [(0, cap - 2 * third), (place - third // 2, place - third // 2 + third), (len(text) - third, len(text))]
    pieces, at = [], 0
    for start, end in kept:
        mark = f" [... {start - at} characters cut ...] "
        pieces.append(mark if start - at > len(mark) else text[at : max(at, start)])
        pieces.append(text[max(at, start) : end])
        at = max(at, end)
    return "".join(pieces)


def _quote(text: str) -> str:
    """A fenced block that `text` cannot end; without its last line ends, and without lone surrogates."""
    text = text.encode("utf-8", "replace").decode("utf-8").rstrip("\r\n")
    if not text.strip():
        return "(nothing)"
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
