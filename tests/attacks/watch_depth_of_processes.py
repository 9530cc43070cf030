# the judge's watch | the tree of processes, forty deep, each forked by a second thread | memory is counted at its end
#: verdicts=["out of memory"], memory_mb=64, cpu_s=3, held_mb=400
import os, threading, time
threading.stack_size(1 << 18)
def grow(depth):
    if depth == 0:
        for _ in range(4):
            if os.fork() == 0:
                keep = b"x" * (55 << 20)
                time.sleep(30)
        time.sleep(30)
    elif os.fork() == 0:
        thread = threading.Thread(target=grow, args=(depth - 1,))
        thread.start()
        thread.join()
    else:
        time.sleep(30)
grow(16)
