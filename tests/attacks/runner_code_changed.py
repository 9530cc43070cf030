# runner's memory | the interpreter's own code and data, written over by a test | the next test is unharmed
#: tests=[("0", "held"), ("1", "held")], verdicts=["exception|timeout|out of memory|wrong output", "accepted"], cpu_s=1
import ctypes
if input() == "0":
    libc = ctypes.CDLL(None)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for name in ("Py_Main", "PyEval_EvalCode", "PyRun_StringFlags", "PyObject_Malloc", "PyMem_RawMalloc"):
        function = getattr(ctypes.pythonapi, name)
        page = ctypes.cast(function, ctypes.c_void_p).value & ~4095
        if libc.mprotect(page, 8192, 7) == 0:
            ctypes.memset(page, 0xCC, 8192)
print("held")
