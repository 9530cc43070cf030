# clocks | CPU time that threads take side by side, on more cores than one | the sum counts, not what a clock on the wall says
#: verdicts=["timeout"], cpu_s=0.5
import hashlib, threading, time
threads = [threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"x", b"y", 1_200_000)) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("held" if time.process_time() < 0.5 else "over the limit by its own clock")
