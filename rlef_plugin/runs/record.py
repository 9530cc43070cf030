"""An episode as plain values: what metrics, dialogs, the analysis of behaviour and a replay read; JSON can hold it.

Made in the rollout actor, where program texts and clock readings are; it travels beside the host's sample to the
trainer. It holds what the model saw and wrote and what came of it: never a private test.
"""

import os
import platform
from collections.abc import Sequence
from typing import Any

from rlef_plugin.env.base import Step
from rlef_plugin.env.behaviour import edits
from rlef_plugin.judge.verdicts import JudgeConfig

Record = dict[str, Any]


def record_of(
    problem: str,
    steps: Sequence[Step],
    texts: Sequence[str],
    action_ranges: Sequence[tuple[int, int]],
    truncated: Sequence[bool],
    generated: Sequence[tuple[float, float]],
    judged_at: Sequence[float],
    judge: JudgeConfig,
) -> Record:
    """`texts` are first message, response, feedback, response, ...; the other sequences have an entry a response.

    `generated` is (unix time of the request, seconds to its answer), `judged_at` the unix time of the submission.
    `judge` in the record names the judge, this process's own or the one that all share, so that workers count once.
    `chrf` is of a turn's program against the one before it (`env/behaviour.py`), which takes milliseconds.
    """
    borders = [0, *(border for one in action_ranges for border in one)]
    tokens = [end - start for start, end in zip(borders, borders[1:], strict=False)]
    similarities = edits([step.code for step in steps])
    return {
        "problem": problem,
        "solved": steps[-1].solved,
        "public_passed": steps[-1].public_passed,
        "judge": "ray" if judge.backend == "ray" else f"{platform.node()}:{os.getpid()}",
        "judge_workers": judge.worker_count,
        "turns": [
            {
                "verdict": step.verdict.name.lower(),
                "public_passed": step.public_passed,
                "reward": step.reward,
                "code": step.code,
                "response_tokens": end - start,
                "truncated": cut,
                "generated_at_unix_s": asked_at,
                "generate_s": generate_s,
                "judged_at_unix_s": judge_at,
                "judge_s": step.judge_s,
                "run_s": step.run_s,
                "cpu_s": step.cpu_s,
                "memory_mb": step.memory_mb,
                "checker_errors": step.checker_errors,
                "killed": step.killed,
                "chrf": similarity,
            }
            for step, (start, end), cut, (asked_at, generate_s), judge_at, similarity in zip(
                steps, action_ranges, truncated, generated, judged_at, similarities, strict=True
            )
        ],
        "messages": [
            {"role": ("environment", "model")[place % 2], "text": text, "tokens": count}
            for place, (text, count) in enumerate(zip(texts, tokens, strict=True))
        ],
    }
