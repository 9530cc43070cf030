# runner's memory | frames that a traceback of the program's own reaches | those of the program alone
import sys
def fail():
    raise KeyError
try:
    fail()
except KeyError as error:
    frame = error.__traceback__.tb_frame
names = []
while frame:
    names.append(frame.f_code.co_name)
    frame = frame.f_back
print("held" if names == ["<module>"] else names)
