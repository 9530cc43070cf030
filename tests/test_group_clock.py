"""The clock of the models' workers: from dispatch to the last answer; what the host calls and gets stays as it is."""

import threading
from typing import Any

import pytest

pytestmark = pytest.mark.host  # imports Ray


class Group:
    """The host's group of workers as far as the clock knows it."""

    def async_run_method(self, method_name: str, *arguments: Any, **keywords: Any) -> list[Any]:
        return [method_name, arguments, keywords]

    def async_run_method_batch(self, method_name: str, **keywords: Any) -> list[Any]:
        return [method_name, keywords]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock with a time of its own, and answers that come when `answered` is set."""
    from rlef_plugin.openrlhf_ext import group_clock

    made = group_clock.GroupClock()
    made.now, made.answered = [0.0], threading.Event()
    monkeypatch.setattr(group_clock.time, "monotonic", lambda: made.now[0])
    monkeypatch.setattr(group_clock.ray, "wait", lambda answers, **_: made.answered.wait(10))
    return made


def test_calls_are_passed_on_and_timed_until_they_are_answered(clock: Any) -> None:
    policy, critic = Group(), Group()
    clock.watch(policy, "policy")
    clock.watch(critic, "critic")
    assert policy.async_run_method_batch("forward", sequences=[1]) == ["forward", {"sequences": [1]}]
    assert critic.async_run_method(method_name="fit", kl_ctl=0.1) == ["fit", (), {"kl_ctl": 0.1}]
    assert policy.async_run_method("empty_cache", 1) == ["empty_cache", (1,), {}]  # not timed
    clock.now[0] = 3.0
    clock.answered.set()
    assert clock.lap() == {
        "model_s/policy_forward": 3.0,
        "model_s/policy_update": 0.0,
        "model_s/critic_forward": 0.0,
        "model_s/critic_update": 3.0,
    }
    assert set(clock.lap().values()) == {0.0}  # a new lap, the same keys


def test_a_model_that_the_run_has_not_has_no_keys(clock: Any) -> None:
    clock.watch(None, "critic")
    clock.watch(Group(), "reference")
    assert clock.lap() == {"model_s/reference_forward": 0.0}
