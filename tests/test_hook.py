"""The .pth hook: `python -m openrlhf.cli.train_ppo_ray --env CLASS` reaches the launcher, and nothing else changes.

Most tests run in two small environments that differ in the plugin alone, with a host and a launcher that report what
they see: "untouched" means that what the two print is equal to the byte. The real host is asked at the end.
"""

import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench_hook
from rlef_plugin import hook

REPO = Path(__file__).resolve().parents[1]
HOST = "openrlhf.cli.train_ppo_ray"
ENV = ["--env", "rlef_plugin.CodeContestsEnv"]

REPORT = """
import json, sys
def report(who, frame_file, names):
    print(json.dumps({
        "who": who, "argv": sys.argv, "code": frame_file, "file": names.get("__file__"), "name": names["__name__"],
        "loader": type(names["__loader__"]).__name__, "origin": names["__spec__"] and names["__spec__"].origin,
        "meta_path": [str(finder).partition(" object")[0] for finder in sys.meta_path], "modules": sorted(sys.modules),
    }))
"""
HOST_SOURCE = """
import sys
from reporting import report
if __name__ == "__main__":
    report("host", sys._getframe().f_code.co_filename, globals())
"""
LAUNCHER_SOURCE = """
import runpy, sys
import __main__
from reporting import report
def main(flags):
    if "crash" in flags:
        raise ZeroDivisionError("launcher")
    if "spawn" in flags:
        import multiprocessing
        child = multiprocessing.get_context("spawn").Process(target=print, args=("child ran",))
        child.start(); child.join(); raise SystemExit(child.exitcode)
    report("launcher", sys._getframe(1).f_code.co_filename, vars(__main__))
    if "host" in flags:
        sys.argv = ["x", *flags]
        runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Environments:
    with_plugin: Path
    without: Path
    host_file: Path

    def run(self, *arguments: str, plugin: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        python = self.with_plugin if plugin else self.without
        command = [str(python), *arguments]
        variables = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **variables}
        return subprocess.run(
            command, capture_output=True, text=True, env=variables, cwd=self.host_file.parent, timeout=60
        )

    def reports(self, *arguments: str, **keywords: Any) -> list[dict]:
        done = self.run(*arguments, **keywords)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    folder = tmp_path_factory.mktemp("hook")
    shared = folder / "shared"
    cli = shared / "openrlhf" / "cli"
    cli.mkdir(parents=True)
    (shared / "reporting.py").write_text(REPORT)
    for package in (cli.parent, cli):
        (package / "__init__.py").touch()
    (cli / "train_ppo_ray.py").write_text(HOST_SOURCE)
    (cli / "other.py").write_text(HOST_SOURCE)
    sites = {}
    for name in ("with", "without"):
        venv.create(folder / name, with_pip=False, symlinks=True)
        sites[name] = next((folder / name / "lib").glob("python3.*/site-packages"))
        (sites[name] / "shared.pth").write_text(f"{shared}\n")
    plugin = sites["with"] / "rlef_plugin"
    plugin.mkdir()
    for file in ("__init__.py", "hook.py"):
        (plugin / file).write_text((REPO / "rlef_plugin" / file).read_text())
    (plugin / "launcher.py").write_text(LAUNCHER_SOURCE)
    (sites["with"] / "rlef_plugin_hook.pth").write_text((REPO / "rlef_plugin" / "hook.pth").read_text())
    return Environments(folder / "with/bin/python", folder / "without/bin/python", cli / "train_ppo_ray.py")


# Python's own ways to say "run this module"; each is also run for real below.
SPELLINGS = (
    ["-m", HOST],
    [f"-m{HOST}"],
    ["-u", "-m", HOST],
    ["-um", HOST],
    [f"-bEm{HOST}"],
    ["-X", "utf8", "-m", HOST],
    ["-Xutf8", "-m", HOST],
    ["-W", "ignore", "-m", HOST],
    ["-uWignore", "-m", HOST],
    ["-I", "-m", HOST],
    ["--check-hash-based-pycs", "never", "-m", HOST],
    ["-X", "-m", "-m", HOST],  # -X swallows the first "-m"
)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=" ".join)
@pytest.mark.parametrize(
    "env", [ENV, ["--env=rlef_plugin.CodeContestsEnv"], ["--data.max_len", "5", *ENV, "-m", "x"]], ids=" ".join
)
def test_reaches_the_launcher_with_the_arguments(
    environments: Environments, spelling: list[str], env: list[str]
) -> None:
    [seen] = environments.reports(*spelling, *env)
    assert seen["who"] == "launcher"
    assert seen["argv"] == [str(environments.host_file), *env]


UNTOUCHED = (
    ["-m", HOST],
    ["-m", HOST, "--data.max_len", "5", "--no--env"],
    ["-m", "openrlhf.cli.other", *ENV],
    ["other.py", "--env", "x"],
    ["-c", f"import runpy; runpy.run_module('{HOST}', run_name='__main__')"],
    ["-c", "import sys; print(sys.orig_argv[1:], sorted(sys.modules), sys.meta_path)"],
)
LEFT_ALONE = (  # both words are somewhere in the command line
    ["-m", HOST, "--environment", "x", "y --env z"],
    ["-m", "openrlhf.cli.other", HOST, *ENV],
    ["-m", "openrlhf.cli.other", "-m", HOST, *ENV],
    ["other.py", "-m", HOST, *ENV],  # as `ray job submit -- python -m ...` is: a script that gets our words
    ["train_ppo_ray.py", "-m", HOST, *ENV],
    ["-c", "import sys; from reporting import report; report('c', '', globals())", "-m", HOST, *ENV],
    ["-c", f"import runpy; runpy.run_module('{HOST}', run_name='__main__')", *ENV],
)


@pytest.mark.parametrize("arguments", UNTOUCHED, ids=lambda words: " ".join(words)[:60])
def test_any_other_process_is_untouched(environments: Environments, arguments: list[str]) -> None:
    plain, hooked = (environments.run(*arguments, plugin=plugin) for plugin in (False, True))
    assert plain.returncode == 0 and plain.stdout
    assert (hooked.returncode, hooked.stdout, hooked.stderr) == (plain.returncode, plain.stdout, plain.stderr)


@pytest.mark.parametrize("arguments", LEFT_ALONE, ids=lambda words: " ".join(words)[:60])
def test_a_command_line_that_only_looks_like_ours_is_left_alone(
    environments: Environments, arguments: list[str]
) -> None:
    """Reading it properly imported modules; nothing else differs, and no finder was left behind."""
    [plain], [hooked] = (environments.reports(*arguments, plugin=plugin) for plugin in (False, True))
    assert {**hooked, "modules": None} == {**plain, "modules": None}
    assert plain["who"] != "launcher"


@pytest.mark.parametrize("value, off", [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_switch(environments: Environments, value: str, off: bool) -> None:
    [seen] = environments.reports("-m", HOST, *ENV, RLEF_PLUGIN_DISABLE=value)
    assert seen["who"] == ("host" if off else "launcher")
    assert not off or seen["code"] == str(environments.host_file)


def test_main_is_still_the_hosts_module(environments: Environments) -> None:
    [seen] = environments.reports("-m", HOST, *ENV)
    host = str(environments.host_file)
    assert (seen["name"], seen["file"], seen["origin"]) == ("__main__", host, host)


def test_the_launcher_gets_the_hosts_own_code_when_it_runs_the_host(environments: Environments) -> None:
    launcher, host = environments.reports("-m", HOST, *ENV, "host")
    assert host["who"] == "host"
    assert host["code"] == str(environments.host_file)
    assert host["loader"] == "SourceFileLoader"
    for seen in (launcher, host):
        assert not [finder for finder in seen["meta_path"] if "rlef" in finder]


def test_a_traceback_shows_the_way_to_the_launcher(environments: Environments) -> None:
    done = environments.run("-m", HOST, *ENV, "crash")
    assert done.returncode == 1
    assert "rlef_plugin/hook.py" in done.stderr
    assert "main(sys.argv[1:])" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: launcher\n")


def test_a_spawned_child_is_not_another_launcher(environments: Environments) -> None:
    done = environments.run("-m", HOST, *ENV, "spawn")
    assert (done.returncode, done.stdout, done.stderr) == (0, "child ran\n", "")


def test_without_the_host_python_says_so_itself(environments: Environments) -> None:
    hidden = environments.host_file.with_suffix(".hidden")
    environments.host_file.rename(hidden)
    try:
        done = environments.run("-m", HOST, *ENV)
    finally:
        hidden.rename(environments.host_file)
    assert done.stderr == f"{environments.with_plugin}: No module named {HOST}\n"


@pytest.mark.parametrize(
    "command, expected",
    [
        (["python"], (None, [])),
        (["python", "-"], (None, [])),
        (["python", "--", "script.py", "-m", "a"], (None, [])),
        (["python", "-i", "-m", "a.b", "-m", "c"], ("a.b", ["-m", "c"])),
        (["python", "-cm", "-m", "a"], (None, [])),
        (["python", "-m"], (None, [])),
        (["python", "-W"], (None, [])),
        (["python", "--version", "-m", "a"], ("a", [])),
    ],
)
def test_run_as_module(command: list[str], expected: tuple[str | None, list[str]]) -> None:
    assert hook.run_as_module(command) == expected


def test_costs_every_other_process_less_than_a_millisecond(tmp_path: Path) -> None:
    plain, plugin = bench_hook.make_environments(tmp_path)
    _, added_ms = bench_hook.measure(plain, plugin, ["-c", "pass"], pairs=60)
    assert added_ms < 1.0


def test_importing_the_package_is_cheap(environments: Environments) -> None:
    code = (
        "import sys, time; before = set(sys.modules); t = time.process_time(); import rlef_plugin; "
        "print(1000 * (time.process_time() - t), *set(sys.modules) - before)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    took_ms = min(float(run.stdout.split()[0]) for run in runs)
    assert took_ms < 50
    assert not {"torch", "ray", "openrlhf", "rlef_plugin.env"} & set(runs[0].stdout.split())


def test_installed_hook_is_this_one() -> None:
    installed = next(
        Path(path, "rlef_plugin_hook.pth") for path in sys.path if Path(path, "rlef_plugin_hook.pth").is_file()
    )
    assert installed.read_text() == (REPO / "rlef_plugin" / "hook.pth").read_text(), "run `make setup`"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which the host's CLI can be imported where flash-attn cannot be installed."""
    folder = tmp_path_factory.mktemp("stand-in")
    for module in ("flash_attn", "flash_attn/bert_padding", "flash_attn/utils", "flash_attn/utils/distributed"):
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text("def __getattr__(name): return name\n")
    return {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}


def run_real(*arguments: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, env=variables)


@pytest.mark.host
def test_the_real_host_is_untouched_without_env(real: dict[str, str]) -> None:
    """Not one of our modules is imported on the way to its own help, which knows nothing of us."""
    done = run_real("-X", "importtime", "-m", HOST, "--help", variables=real)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "openrlhf.trainer" in done.stderr
    assert "rlef" not in done.stderr + done.stdout
    assert "--actor.model_name_or_path" in done.stdout
    assert "--env" not in done.stdout.split()


@pytest.mark.host
def test_the_real_host_with_env_is_ours(real: dict[str, str]) -> None:
    done = run_real("-m", HOST, *ENV, "--help", variables=real)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--env CLASS" in done.stdout
    assert "geometric_mean" in done.stdout
