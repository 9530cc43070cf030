# clocks | work in pieces shorter than any look at the clock, between sleeps | a timeout once the pieces add up to the limit
#: verdicts=["timeout"], cpu_s=0.3
import time
while True:
    end = time.process_time() + 0.004
    while time.process_time() < end:
        pass
    time.sleep(0.004)
