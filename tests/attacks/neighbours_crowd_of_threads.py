# neighbours | forty threads that need no lock of the interpreter | the program beside it is right
#: verdicts=["timeout|out of memory"], cpu_s=2
import hashlib, threading
threading.stack_size(1 << 16)
def spin():
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10**9)
for _ in range(40):
    try:
        threading.Thread(target=spin).start()
    except RuntimeError:
        break
spin()
