"""The judge on machines of other kinds: an ordinary user, other cgroups, no user namespaces, no jail at all. Each is
made here from this machine with `unshare`, which needs root; without it the tests say so and skip."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from judge_helpers import ROOT

pytestmark = [
    pytest.mark.nsjail,
    pytest.mark.skipif(os.getuid() != 0, reason="not root: all other tests have just run as an ordinary user"),
]
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
VERDICTS = "accepted wrong-output exception timeout out-of-memory"


def run(namespaces: list[str], shell: str, *arguments: str, python: str = sys.executable, **environment: str) -> str:
    """What SCRIPT prints, warnings too, after `shell` has changed the machine as new namespaces see it."""
    completed = subprocess.run(
        ["unshare", *namespaces, "sh", "-c", f'{shell} && exec {python} -c "$@"', "sh", SCRIPT, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stdout[-2000:]
    return completed.stdout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that any user may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_an_ordinary_user_gets_the_same_verdicts(open_folder: Path) -> None:
    """The interpreter, the packages and this tree are put where that user may read them."""
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    binds = {"python": sys.base_prefix, "packages": packages, "tree": ROOT}
    for name in binds:
        (open_folder / name).mkdir()
    mounts = " && ".join(f"mount --bind {source} {open_folder / name}" for name, source in binds.items())
    python = f"{open_folder}/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    path = f"{open_folder}/tree:{open_folder}/tree/tests:{open_folder}/packages"
    libraries = f"{open_folder}/python/lib"  # of an interpreter that was built with a shared library
    user = f"setpriv --reuid 54321 --regid 54321 --clear-groups {python}"
    said = run(["--mount"], f"{mounts} && cd /", python=user, PYTHONPATH=path, LD_LIBRARY_PATH=libraries)
    assert said.splitlines()[0] == f"54321 {VERDICTS}", said
    assert len(said.splitlines()) == 2, said  # and every check of `rlef doctor` passes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "shell"),
    [
        ("", "umount -l -R /sys/fs/cgroup"),
        ("v2", "umount -l -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"),
        ("", "true"),
    ],
    ids=["none", "v2", "as it is"],
)
def test_cgroups_of_any_kind_will_do(version: str, shell: str) -> None:
    said = run(["--mount"], shell).splitlines()
    assert said[0] == f"0 {VERDICTS}"
    assert len(said) == 2 and version in said[1], said


NO_USER_NAMESPACES = (["--user", "--map-root-user"], "echo 0 > /proc/sys/user/max_user_namespaces")


def test_without_user_namespaces_the_start_fails_and_names_the_setting() -> None:
    said = run(*NO_USER_NAMESPACES)
    assert said.startswith("SandboxError: A jail did not start") and said.count("\n") == 1
    assert "user.max_user_namespaces" in said


@pytest.mark.slow
def test_unsafe_mode_works_there_and_warns_each_time() -> None:
    for _ in range(2):
        said = run(*NO_USER_NAMESPACES, "unsafe")
        assert said.startswith("UNSAFE") and said.count("UNSAFE") == 1
        assert f"0 {VERDICTS}" in said.splitlines()
