"""What defines a jail and what runs inside one: `config.py` (the jail's shape as data), `policy.kafel` (its system
calls), `runner.py` (process 1 of a jail) with `program.py`, `streams.py`, `watch.py` and `shared.py`, `selfcheck.py`
(programs that prove a jail holds). Standard library only.

In a wheel this folder is installed as `rlef_sandbox`, because `sandbox` alone would collide with other packages."""
