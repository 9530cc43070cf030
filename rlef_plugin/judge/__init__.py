"""The trusted side of execution: runs hostile programs in jails and says what they are worth.

    open_judge (pool.py)          the caller's side, any event loop
      └─ server process (server.py)      a pool of jails started ahead, one job a program
           └─ judging.py                   one program: its tests, its verdicts, what a jail's death means
                ├─ process.py                one running jail; jail.py is its command line
                ├─ compare.py                right or wrong
                └─ verdicts.py               verdicts, limits, results
      patient.py                    the same, asked again for a while when the judge itself fails
      remote.py                     the same, from Ray actors on other nodes (spread.py here, batch.py there)
      wire.py                       the bytes between them, and out of a jail
      checker.py                    a problem's own checker in place of compare.py, in a jail of its own
      check.py                      whether this machine judges rightly: for `rlef doctor`, and before each run
      complaints.py                 why a jail does not start here, and what to change

Threat model: programs are hostile; a program can spoil its own verdict and nothing else. Not covered: bugs of the
kernel, side channels, and the sum of memory over a jail's processes where no memory cgroup bounds it."""

from rlef_plugin.judge.check import Check, check_here, check_sandbox, check_verdicts
from rlef_plugin.judge.patient import open_patient_judge
from rlef_plugin.judge.pool import Judge, open_judge
from rlef_plugin.judge.verdicts import JudgeConfig, Limits, ProgramResult, SandboxError, TestResult, Verdict

__all__ = [
    "Check",
    "Judge",
    "JudgeConfig",
    "Limits",
    "ProgramResult",
    "SandboxError",
    "TestResult",
    "Verdict",
    "check_here",
    "check_sandbox",
    "check_verdicts",
    "open_judge",
    "open_patient_judge",
]
