"""The CPU clock of a running test, and what ends it and all that it started.

Runs in process 1 of a jail, which nothing inside can kill. The wall clock is the judge's own, outside. Not promised:
CPU time of processes whose numbers lie far beyond the program's own is seen by the judge outside, or at the end."""

import _signal
import posix
import time

WATCH_S, FAR_WATCH_S = 0.02, 0.2  # how often a running test's clock is looked at
NEIGHBOURS, FAR_NEIGHBOURS = 64, 512  # process numbers after a program's own that are looked at too: it may have
# started them; the far ones only once it has run for longer than its CPU limit without using that itself


class Watch:
    """Ends a test at its CPU limit; driven by a timer, so that a short test costs no system call. The timer goes on by
    itself, because a signal that comes just before this process waits for a child is seen only after it."""

    def __init__(self, cpu_s: float, jailed: bool) -> None:
        self.cpu_s = cpu_s
        self.reach = (NEIGHBOURS, FAR_NEIGHBOURS) if jailed else (1, 1)
        self.jailed = jailed
        self.child = 0
        self.started = 0.0
        self.stopped = False
        self.looking = False
        _signal.signal(_signal.SIGALRM, self.ring)
        _signal.setitimer(_signal.ITIMER_REAL, WATCH_S, WATCH_S)

    def ring(self, signal_number: int, stack: object) -> None:
        """Never inside itself, however slowly this process runs and whoever sends the signal."""
        if self.looking:
            return
        self.looking = True
        interval = self.look() if self.child else WATCH_S
        _signal.setitimer(_signal.ITIMER_REAL, interval, interval)
        self.looking = False

    def look(self) -> float:
        """Seconds to the next look. Less often once a test has run for longer than its CPU limit: others use the CPU,
        or it sleeps. But no later than one process could use up what is left, or a limit of 0.1 s would mean 0.3 s."""
        far = time.monotonic() - self.started > self.cpu_s
        used = sum(map(cpu_seconds, range(self.child, self.child + self.reach[far])))
        if used > self.cpu_s:
            self.stopped = True
            self.kill()
        return min(max(self.cpu_s - used, WATCH_S), FAR_WATCH_S) if far else WATCH_S

    def kill(self) -> None:
        try:
            posix.kill(-1 if self.jailed else self.child, _signal.SIGKILL)  # all but this process, or the program
        except OSError:
            pass  # it has just ended


def cpu_seconds(process: int) -> float:
    try:
        return time.clock_gettime(~process << 3 | 2)  # the clock id of a process, as clock_getcpuclockid(3) makes it
    except OSError:
        return 0.0


def sweep(jailed: bool, child: int) -> float:
    """Kills and reaps all that the child left. Returns the CPU seconds of it."""
    if not jailed:
        try:
            posix.killpg(child, _signal.SIGKILL)
        except OSError:
            pass
    used = 0.0
    try:
        while True:
            process, _, usage = posix.wait4(-1, posix.WNOHANG)
            if not process:
                posix.kill(-1, _signal.SIGKILL) if jailed else None
                _, _, usage = posix.wait4(-1, 0)
            used += usage.ru_utime + usage.ru_stime
    except ChildProcessError:
        return used
