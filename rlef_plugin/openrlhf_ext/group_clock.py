"""How long each model's workers were busy with a call of the host's, from its dispatch to the last worker's answer.

The host calls its groups of workers (policy, reference, critic) and waits for several of them at once, so their times
overlap and do not add up; docs/metrics.md has them as `model_s/...`. A call is watched by a thread that only waits:
nothing of what the host does or gets changes.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import ray

TIMED = {"forward": "forward", "fit": "update"}  # methods of the host's workers, and what their time is called
FROZEN = "reference"  # has no update


class GroupClock:
    def __init__(self) -> None:
        self.called: dict[str, float] = {}  # by method: when any model was last called, by `time.monotonic`
        self._spent_s: dict[str, float] = defaultdict(float)
        self._threads: list[threading.Thread] = []
        self._keys: list[str] = []

    def watch(self, group: Any, model: str) -> None:
        """Time the calls of this group from now on; None is a model the run has not."""
        if group is not None:
            names = ("forward",) if model == FROZEN else TIMED.values()
            self._keys += [f"model_s/{model}_{name}" for name in names]
            for method in ("async_run_method", "async_run_method_batch"):
                setattr(group, method, self._timed(getattr(group, method), model))

    def _timed(self, call: Callable[..., list[Any]], model: str) -> Callable[..., list[Any]]:
        def timed(method_name: str, *arguments: Any, **keywords: Any) -> list[Any]:
            started = self.called[method_name] = time.monotonic()
            answers = call(method_name, *arguments, **keywords)
            if method_name in TIMED:
                key = f"model_s/{model}_{TIMED[method_name]}"
                thread = threading.Thread(target=self._wait, args=(key, answers, started), daemon=True)
                self._threads.append(thread)
                thread.start()
            return answers

        return timed

    def _wait(self, key: str, answers: list[Any], started: float) -> None:
        ray.wait(answers, num_returns=len(answers), fetch_local=False)
        self._spent_s[key] += time.monotonic() - started

    def lap(self) -> dict[str, float]:
        """Seconds since the last lap, the same keys every time; the host has the answers by then."""
        for thread in self._threads:
            thread.join()
        spent_s = {key: self._spent_s[key] for key in self._keys}
        self._threads, self._spent_s = [], defaultdict(float)
        return spent_s
