"""The attacks of tests/attacks, one test each, with a right program judged beside each of them.

`benchmarks/judge_attacks.py` says how an attack is written and when it is held."""

import contextlib
from collections import Counter
from collections.abc import Iterator

import pytest
from judge_helpers import SyncJudge, sync_judge

from benchmarks.judge_attacks import Attack, read_attacks, try_attack
from benchmarks.loop_lag import Lag, probed

pytestmark = pytest.mark.nsjail
ATTACKS = read_attacks()


@pytest.fixture(scope="module")
def judge_and_lag() -> Iterator[tuple[SyncJudge, Lag]]:
    with contextlib.ExitStack() as stack:
        with probed() as lag:
            judge = stack.enter_context(sync_judge(workers=2))
        stack.callback(lag.close)
        yield judge, lag


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_held(judge_and_lag: tuple[SyncJudge, Lag], attack: Attack) -> None:
    judge, lag = judge_and_lag
    trial = judge.loop.run_until_complete(try_attack(judge.judge, lag, attack))
    assert not trial.faults(attack), trial


def test_attacks_are_of_many_kinds_and_none_is_of_one_kind_only() -> None:
    kinds = Counter(attack.kind for attack in ATTACKS)
    assert len(kinds) >= 12 and max(kinds.values()) <= 6 and len(ATTACKS) >= 70
    assert len({attack.target for attack in ATTACKS}) == len(ATTACKS)
