"""The one exception a user is meant to read: a single sentence with the value, the cause and what to change."""


class UsageError(Exception):
    """A wrong flag, recipe, store, model or set-up; `rlef` prints it without a traceback and exits with 2."""
