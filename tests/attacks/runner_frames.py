# runner's memory | Python frames above the program's own, seen from another thread | there are none
import sys, threading
seen = []
def look():
    for number, frame in sys._current_frames().items():
        while frame and number == threading.main_thread().ident:
            seen.append((frame.f_globals is globals(), frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
thread = threading.Thread(target=look)
thread.start()
thread.join()
foreign = [name for own, file, name in seen if not own and not file.endswith("threading.py")]
print("held" if seen and not foreign else foreign)
