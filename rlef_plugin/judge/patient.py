"""A judge for long work: when the judge itself fails, programs are asked again for a while, not given up.

A run of weeks judges tens of millions of programs. One server that the kernel killed, a file system that hangs while
jails start, or judge nodes that are replaced must not end it: the same program is judged again, by a new server where
the old one is dead, after pauses that grow from one second to half a minute. Only when it has failed for
`rlef.judge.patience_s` seconds does its caller get the SandboxError. A program has no verdict meanwhile, so only time
is lost, and the log says so once an outage.

Not promised: that a program which itself makes the judge fail, every time, is recognised as the cause."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rlef_plugin.judge.pool import Case, Judge, open_judge
from rlef_plugin.judge.verdicts import JudgeConfig, Limits, ProgramResult, SandboxError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

logger = logging.getLogger(__name__)


class LivingJudge:
    """What `open_judge(config)` opens: at the first call, and again when its server has died."""

    def __init__(self, config: JudgeConfig, judge: Judge | None = None) -> None:
        self._config, self._judge = config, judge
        self._opening = asyncio.Lock()

    async def get(self) -> Judge:
        async with self._opening:
            broken: str = getattr(self._judge, "broken", "")  # a spread judge mends itself
            if broken:
                await self.close()
            if self._judge is None:
                self._judge = await open_judge(self._config)
            return self._judge

    async def close(self) -> None:
        """`get` would open another one."""
        judge, self._judge = self._judge, None
        if judge:
            await judge.close()


class PatientJudge:
    """Asks again what fails with SandboxError."""

    def __init__(self, config: JudgeConfig, judge: Judge) -> None:
        self._patience_s, self._judge = config.patience_s, LivingJudge(config, judge)
        self._failing_since: float | None = None  # monotonic time
        self._closed = False

    async def judge(
        self,
        program: str,
        tests: Sequence[Case],
        limits: Limits,
        *,
        stop_at_failure: bool = False,
        input_file: str | None = None,
        output_file: str | None = None,
    ) -> ProgramResult:
        options: dict[str, Any] = {"stop_at_failure": stop_at_failure}
        options |= {"input_file": input_file, "output_file": output_file}
        return await self._ask(lambda judge: judge.judge(program, tests, limits, **options))

    async def run(
        self,
        program: str,
        inputs: Sequence[str],
        limits: Limits,
        *,
        stop_at_failure: bool = False,
        driver: str = "",
    ) -> ProgramResult:
        options: dict[str, Any] = {"stop_at_failure": stop_at_failure, "driver": driver}
        return await self._ask(lambda judge: judge.run(program, inputs, limits, **options))

    async def close(self) -> None:
        self._closed = True
        await self._judge.close()

    async def _ask(self, call: Callable[[Judge], Awaitable[ProgramResult]]) -> ProgramResult:
        pause_s, until = FIRST_PAUSE_S, float("inf")
        while True:
            try:
                if self._closed:
                    raise SandboxError("The judge was closed.")
                result = await call(await self._judge.get())
            except SandboxError as error:
                until = min(until, time.monotonic() + self._patience_s)
                if self._closed or time.monotonic() + pause_s > until:
                    raise
                self._tell(error)
            else:
                self._tell(None)
                return result
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _tell(self, error: SandboxError | None) -> None:
        now = time.monotonic()
        if error is not None and self._failing_since is None:
            self._failing_since = now
            logger.warning("The judge fails, and is asked again for %g s: %s", self._patience_s, error)
        elif error is None and self._failing_since is not None:
            logger.warning("The judge answers again, after %.0f s.", now - self._failing_since)
            self._failing_since = None


async def open_patient_judge(config: JudgeConfig | None = None) -> Judge:
    """As `open_judge`; what fails at once, such as a missing nsjail, is not waited for."""
    config = config or JudgeConfig()
    return PatientJudge(config, await open_judge(config))
