# state of a process | priority, cores and timer slack that a test sets | the next test has the usual ones
#: tests=[("0", "held"), ("1", "held")]
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
cores, nice, slack = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0), libc.prctl(30)
usual = len(cores) == os.cpu_count() and nice < 19 and slack != 77
os.sched_setaffinity(0, {min(cores)})
os.setpriority(os.PRIO_PROCESS, 0, 19)
libc.prctl(29, ctypes.c_ulong(77))
print("held" if usual or os.cpu_count() == 1 else (cores, nice, slack))
