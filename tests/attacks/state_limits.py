# state of a process | limits that a test lowers | the next test has the usual ones
#: tests=[("0", "held"), ("1", "held")]
import resource
names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
low = [name for name in names if resource.getrlimit(getattr(resource, name))[0] == 3]
print("held" if not low else low, flush=True)
for name in names:
    if name not in ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_STACK"):
        soft, hard = resource.getrlimit(getattr(resource, name))
        if hard == resource.RLIM_INFINITY or hard > 3:
            resource.setrlimit(getattr(resource, name), (3, 3))
