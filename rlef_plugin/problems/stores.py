"""Several stores looked up as one: the training set's and the evaluation's, where they are not the same."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rlef_plugin.problems.errors import StoreError, no_problem
from rlef_plugin.problems.records import Problem, Solution
from rlef_plugin.problems.store import ProblemStore


class ProblemStores:
    """Problems by id, whatever store they are in, since an episode knows the id of its problem and not its store."""

    def __init__(self, stores: list[ProblemStore]) -> None:
        self.stores = stores
        self._store_of: dict[str, ProblemStore] = {}
        self._ids_of: dict[str, list[str]] = {}
        for store in stores:
            for problem_id in store:
                known = self._store_of.setdefault(problem_id, store)
                if known is not store and known.fingerprint(problem_id) != store.fingerprint(problem_id):
                    raise StoreError(
                        f"problem {problem_id!r} is not the same in {known.path} and {store.path}: "
                        "use stores built from the same source, or one store for both"
                    )

    @classmethod
    def open(cls, paths: Iterable[Path | str]) -> "ProblemStores":
        """Open them all.

        Raises:
            StoreError: one cannot be opened, or two hold different problems under one id.
        """
        return cls([ProblemStore.open(path) for path in paths])

    def __len__(self) -> int:
        return len(self._store_of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store_of)

    def __contains__(self, problem_id: object) -> bool:
        return problem_id in self._store_of

    def __getitem__(self, problem_id: str) -> Problem:
        if problem_id not in self._store_of:
            raise no_problem(problem_id, self._store_of, [store.path for store in self.stores])
        return self._store_of[problem_id][problem_id]

    def ids(self, split: str) -> list[str]:
        """Ids of one split, of all stores that have it; the same list every time."""
        if split not in self._ids_of:
            having = (store for store in self.stores if split in store.splits)
            self._ids_of[split] = list(
                dict.fromkeys(problem_id for store in having for problem_id in store.ids(split))
            )
        return self._ids_of[split]

    def solutions(self, problem_id: str) -> list[Solution]:
        """Stored programs, correct ones first."""
        if problem_id not in self._store_of:
            raise no_problem(problem_id, self._store_of, [store.path for store in self.stores])
        return self._store_of[problem_id].solutions(problem_id)
