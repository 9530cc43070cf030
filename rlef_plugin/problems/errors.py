"""What can be wrong with problems on disk; each message is one sentence with the value, the cause and what to do."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from rlef_plugin.errors import UsageError


class StoreError(UsageError):
    """A store or a source of problems that cannot be used as it is."""


class UnknownProblemError(StoreError, KeyError):
    """A problem id that the store does not have."""

    __str__ = Exception.__str__  # KeyError's would put the sentence in quotes


def no_problem(problem_id: object, ids: Iterable[str], paths: list[Path]) -> UnknownProblemError:
    """The error for an id that is not among `ids`, with the nearest that is."""
    near = difflib.get_close_matches(str(problem_id), ids, n=1, cutoff=0.4)
    hint = f"the nearest id is {near[0]!r}" if near else "no id is near it"
    where = " and ".join(map(str, paths)) or "any store (none is open)"
    return UnknownProblemError(
        f"problem {str(problem_id)[:200]!r} is not in {where}: {hint}; use the store that the prompts came from"
    )
