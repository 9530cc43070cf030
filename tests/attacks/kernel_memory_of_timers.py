# kernel memory | timers of a process, each with a signal of its own | bounded, and none fires in the next test
#: tests=[("0", "held"), ("1", "held")]
import ctypes, struct, time
libc = ctypes.CDLL(None, use_errno=True)
if input() == "0":
    made, number = 0, ctypes.c_int()
    event = struct.pack("qiii", 0, 10, 0, 0) + bytes(48)  # SIGUSR1, which ends a process
    while made < 20_000 and libc.syscall(222, 1, event, ctypes.byref(number)) == 0:
        made += 1
    libc.syscall(223, number, 0, struct.pack("qqqq", 0, 10**7, 1, 0), None)  # in a second
else:
    time.sleep(1.2)
print("held")
