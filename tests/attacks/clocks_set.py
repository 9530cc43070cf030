# clocks | the machine's clocks, set or slewed by any call that does that | refused
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
answers = set()
for number, first in ((227, -1), (305, -1), (159, 0), (164, 0)):  # clock_settime, clock_adjtime, adjtimex, settimeofday
    libc.syscall(*map(ctypes.c_long, (number, first, 0, 0)))
    answers.add(ctypes.get_errno())
print("held" if answers <= {1, 38} else answers)
