"""Where the judge runs and where not: `rlef doctor --judge` in places that are made of this machine.

    sudo python benchmarks/judge_places.py > benchmarks/results/judge_places.md

A place is a command that starts another one: with capabilities dropped, with a filter of system calls like a
container's default profile (one filter, installed by nsjail), in a user namespace whose settings forbid others, in a
CPU cgroup, as an ordinary user. Nothing of the machine itself is changed, and what is made is removed.
tests/test_judge_machines.py asserts what is printed here. Not made: Docker, Podman, Kubernetes and Slurm themselves,
and AppArmor."""

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rlef_plugin.judge.jail import find_nsjail

ROOT = Path(__file__).parents[1]
USER = 54321
SETPRIV = shutil.which("setpriv") or "setpriv"  # nsjail looks for no program
AS_USER = (SETPRIV, f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
DOCKER_CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod "
    "audit_write setfcap"
).split()
NAMESPACES = "clone(flags) { (flags & 0x7E020000) != 0 }, unshare, setns"
MOUNTS = "mount, umount, pivot_root"
KERNEL = "bpf, keyctl, add_key, request_key, perf_event_open, userfaultfd, open_by_handle_at, kcmp"
DOCKER = f"{NAMESPACES}, {MOUNTS}, {KERNEL}, sethostname, setdomainname"


@dataclass(frozen=True)
class Place:
    """`start` comes before a command; `python` and `environment` are the interpreter's there."""

    start: tuple[str, ...] = ()
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=lambda: {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})

    def run(self, *command: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "COLUMNS": "200"} | self.environment
        line = [*self.start, self.python, *command]
        return subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, timeout=timeout_s)

    def rlef(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "rlef_plugin", *arguments)


def filtered(refused: str, unknown: str = "clone3") -> tuple[str, ...]:
    """Starts a command for which these system calls are refused, with EPERM, or unknown, with ENOSYS."""
    policy = f"POLICY place {{ ERRNO(1) {{ {refused} }}, ERRNO(38) {{ {unknown} }} }} USE place DEFAULT ALLOW"
    kinds = ("net", "user", "ns", "pid", "ipc", "uts", "cgroup")
    keep = ["--disable_no_new_privs", "--keep_caps", "--keep_env", "--disable_rlimits", "--skip_setsid"]
    own = [f"--disable_clone_new{kind}" for kind in kinds]
    return (find_nsjail(), "-Me", "--really_quiet", "-t0", *keep, *own, "--seccomp_string", policy, "--")


def capabilities(change: str) -> tuple[str, ...]:
    return (SETPRIV, f"--bounding-set={change}", f"--inh-caps={change}")


def docker(*added: str) -> tuple[str, ...]:
    return capabilities(",".join(["-all", *(f"+{name}" for name in (*DOCKER_CAPABILITIES, *added))]))


def no_namespaces(kind: str) -> tuple[str, ...]:
    forbid = f'echo 0 > /proc/sys/user/max_{kind}_namespaces && exec "$@"'
    return ("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")


def few_processes(number: int) -> tuple[str, ...]:
    """Jails count towards a limit of their user, as before Linux 5.14: see `in_namespace`."""
    return (sys.executable, __file__, "in-namespace", str(number))


def in_namespace(number: str, *command: str) -> None:
    """Runs the command as root of a user namespace with all ids, for which the kernel heeds a limit of processes."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.unshare(os.CLONE_NEWUSER)
        os.write(ready[1], b".")
        os.read(go[0], 1)
        resource.setrlimit(resource.RLIMIT_NPROC, (int(number), resource.getrlimit(resource.RLIMIT_NPROC)[1]))
        os.execvp(command[0], command)
    os.read(ready[0], 1)
    for kind in ("uid", "gid"):
        Path(f"/proc/{child}/{kind}_map").write_text("0 0 65536")
    os.write(go[1], b".")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@contextmanager
def plain(*start: str) -> Iterator[Place]:
    yield Place(start)


@contextmanager
def readable(*start: str) -> Iterator[Place]:
    """The interpreter, the packages and this tree are put where every user may read them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    binds = {"python": sys.base_prefix, "packages": packages, "tree": ROOT}
    try:
        for name in binds:
            (folder / name).mkdir()
        mounts = " && ".join(f"mount --bind {source} {folder / name}" for name, source in binds.items())
        at = ("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *start)
        python = f"{folder}/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        path = f"{folder}/tree:{folder}/tree/tests:{folder}/packages"
        libraries = f"{folder}/python/lib"  # of an interpreter that was built with a shared library
        yield Place(at, python, {"PYTHONPATH": path, "LD_LIBRARY_PATH": libraries})
    finally:
        shutil.rmtree(folder)


@contextmanager
def cpu_quota(cores: float) -> Iterator[Place]:
    """A cgroup v1 of its own, as `docker run --cpus` makes."""
    group = Path(f"/sys/fs/cgroup/cpu/rlef-places-{os.getpid()}")
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text(str(int(cores * 100_000)))
        yield Place(("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"))
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


PLACES: dict[str, Callable[[], AbstractContextManager[Place]]] = {
    "this machine": plain,
    "Docker's default profile and capabilities": lambda: plain(*filtered(DOCKER), *docker()),
    "the same with docs/judge.md's five calls": lambda: plain(
        *filtered(f"unshare, setns, {KERNEL}, setdomainname"), *docker()
    ),
    "the same with SYS_ADMIN": lambda: plain(*docker("sys_admin")),
    "rootless Podman's profile: no sethostname": lambda: plain(*filtered("sethostname, setdomainname"), *docker()),
    "a restricted pod: an ordinary user, no capability, the default profile": lambda: readable(
        *filtered(DOCKER), *AS_USER, "--no-new-privs", "--bounding-set=-all"
    ),
    "CAP_SETFCAP dropped": lambda: readable(*capabilities("-setfcap")),
    "the same with an interpreter below /root": lambda: plain(*capabilities("-setfcap")),
    "CAP_SETUID dropped": lambda: plain(*capabilities("-setuid")),
    "user.max_user_namespaces=0": lambda: plain(*no_namespaces("user")),
    "user.max_net_namespaces=0": lambda: plain(*no_namespaces("net")),
    "mounts refused": lambda: plain(*filtered(MOUNTS)),
    "forks in jails refused, as before Linux 5.14": lambda: plain(*few_processes(18)),
    "an ordinary user": lambda: readable(*AS_USER),
    "an ordinary user's namespace with root alone, as Apptainer's fakeroot": lambda: readable(
        *AS_USER, "unshare", "--user", "--map-root-user"
    ),
    "a CPU quota of half a core": lambda: cpu_quota(0.5),
}


def main() -> None:
    if sys.argv[1:2] == ["in-namespace"]:
        return in_namespace(*sys.argv[2:])
    print("| place | judges | what `rlef doctor --judge` says |\n|---|---|---|")
    for name, make in PLACES.items():
        with make() as place:
            completed = place.rlef("doctor", "--judge", "--json")
        checks = json.loads(completed.stdout)["checks"]
        problems = [f"{check['name']}: {check['detail']} -> {check['fix']}" for check in checks if not check["ok"]]
        said = "<br>".join(problems).replace(sys.base_prefix, "PREFIX").replace("|", "\\|")
        said = re.sub(r"/proc/\d+", "/proc/PID", said)  # nothing of this machine
        print(f"| {name} | {'yes' if completed.returncode == 0 else 'no'} | {said} |", flush=True)


if __name__ == "__main__":
    main()
