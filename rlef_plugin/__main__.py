"""`python -m rlef_plugin` is `rlef`."""

from rlef_plugin.cli import main

if __name__ == "__main__":
    main()
