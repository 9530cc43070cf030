# state of a process | the working folder, the mask of new files, the locale and the environment | the next test has the usual ones
#: tests=[("0", "held"), ("1", "held")]
import locale, os
mask = os.umask(0o777)
seen = (os.getcwd(), mask != 0o777, "LEFT" in os.environ, locale.setlocale(locale.LC_NUMERIC))
os.chdir("/usr")
os.environ["LEFT"] = os.environ["TMPDIR"] = os.environ["PYTHONPATH"] = "/usr"
print("held" if seen == ("/tmp", True, False, "C") else seen)
