"""The attacks of tests/attacks, one test each, with a right program judged beside each of them.

`benchmarks/judge_attacks.py` says how an attack is written and when it is held. Those on memory are tried with a
cgroup for each jail, where this machine has them, and without."""

import contextlib
from collections import Counter
from collections.abc import Iterator

import pytest
from judge_helpers import SyncJudge, sync_judge

from benchmarks.judge_attacks import Attack, jails_have_cgroups, read_attacks, try_attack
from benchmarks.loop_lag import Lag, probed
from rlef_plugin.judge.cgroups import NONE

pytestmark = pytest.mark.nsjail
ATTACKS = read_attacks()
ON_MEMORY = [attack for attack in ATTACKS if attack.kind in ("shared memory", "kernel memory", "the judge's watch")]


@contextlib.contextmanager
def watched_judge(cgroup: str = "") -> Iterator[tuple[SyncJudge, Lag]]:
    with contextlib.ExitStack() as stack:
        with probed() as lag:
            judge = stack.enter_context(sync_judge(workers=2, cgroup=cgroup))
        stack.callback(lag.close)
        yield judge, lag


@pytest.fixture(scope="module")
def judge() -> Iterator[tuple[SyncJudge, Lag]]:
    with watched_judge() as judge:
        yield judge


@pytest.fixture(scope="module")
def judge_without_cgroups() -> Iterator[tuple[SyncJudge, Lag]]:
    with watched_judge(NONE) as judge:
        yield judge


def check(judge: tuple[SyncJudge, Lag], attack: Attack, with_cgroups: bool) -> None:
    if attack.unbounded and not with_cgroups:
        pytest.skip(f"without cgroups nothing bounds {attack.unbounded}")
    used, lag = judge
    trial = used.loop.run_until_complete(try_attack(used.judge, lag, attack))
    assert not trial.faults(attack), trial


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_held(judge: tuple[SyncJudge, Lag], attack: Attack) -> None:
    check(judge, attack, jails_have_cgroups())


@pytest.mark.parametrize("attack", ON_MEMORY, ids=lambda attack: attack.name)
def test_attack_on_memory_is_held_without_cgroups(
    judge_without_cgroups: tuple[SyncJudge, Lag], attack: Attack
) -> None:
    check(judge_without_cgroups, attack, False)


def test_attacks_are_of_many_kinds_and_no_two_attack_the_same() -> None:
    kinds = Counter(attack.kind for attack in ATTACKS)
    assert len(kinds) >= 12 and max(kinds.values()) <= 6 and len(ATTACKS) >= 70
    assert len({attack.target for attack in ATTACKS}) == len(ATTACKS)
