"""Episodes as records, made by hand: what tests of metrics, of the watch and of the dialogs read."""

from typing import Any

from rlef_plugin.env.base import Step
from rlef_plugin.env.behaviour import edits
from rlef_plugin.judge import JudgeConfig, Verdict
from rlef_plugin.runs.record import Record, record_of

OK, WRONG, SLOW, INVALID = Verdict.ACCEPTED, Verdict.WRONG_OUTPUT, Verdict.TIMEOUT, Verdict.INVALID_CODE
PROMPT_TOKENS, RESPONSE_TOKENS, FEEDBACK_TOKENS = 50, 10, 7  # a response is longer by one each turn, feedback too


def step(verdict: Verdict, *, last: bool, public: bool, code: str | None, **more: Any) -> Step:
    solved = last and verdict == OK
    reward = (1.0 if solved else -1.0) if last else (-0.2 if verdict == INVALID else 0.0)
    return Step("" if last else "Again.", reward, last, verdict, public, solved, judge_s=2.0, code=code, **more)


def episode(
    verdicts: list[Verdict],
    *,
    public: bool,
    problem: str = "p",
    codes: list[str | None] | None = None,
    cut: tuple[int, ...] = (),
    start: float = 1000.0,
) -> Record:
    """One episode as the trainer has it. Turn t is asked for at start + 10 t, takes 3 s, and is judged for 2 s."""
    count = len(verdicts)
    codes = codes or [None if verdict == INVALID else f"print({turn})" for turn, verdict in enumerate(verdicts)]
    steps = [
        step(
            verdict,
            last=turn == count - 1,
            public=public and turn == count - 1,
            code=codes[turn],
            run_s=0.5,
            cpu_s=0.25,
            memory_mb=9.0,
        )
        for turn, verdict in enumerate(verdicts)
    ]
    texts, ranges, at = ["Solve it."], [], PROMPT_TOKENS
    for turn in range(count):
        ranges.append((at, at + RESPONSE_TOKENS + turn))
        at = ranges[-1][1] + FEEDBACK_TOKENS + turn
        texts += [f"Here:\n```python\n{codes[turn]}\n```", f"Turn {turn + 1} fails."]
    starts = [start + 10 * turn for turn in range(count)]
    record = record_of(
        problem,
        steps,
        texts[:-1],
        ranges,
        [turn in cut for turn in range(count)],
        [(at, 3.0) for at in starts],
        [at + 3.0 for at in starts],
        JudgeConfig(workers=4),
    )
    for turn, similarity in zip(record["turns"], edits(codes), strict=True):
        turn["chrf"] = similarity
    return record
