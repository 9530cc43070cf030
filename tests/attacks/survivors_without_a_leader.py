# processes of a test | threads that go on after the first thread of their process has ended | they end with their test
#: tests=[("0", "held"), ("1", "held")], verdicts=["timeout", "accepted"], cpu_s=0.2
import ctypes, threading
def spin():
    while True:
        pass
if input() == "0":
    threading.Thread(target=spin).start()
    ctypes.CDLL(None).syscall(60, 0)  # exit of this thread alone
print("held")
