"""chrF, repeats and repairs against numbers worked out by hand, and against sacreBLEU's own."""

import pytest

from rlef_plugin.env.behaviour import chrf, earlier_programs, edits, repairs, repeats


def test_chrf_by_hand() -> None:
    """abcd against abc: 3 of 4, 2 of 3, 1 of 2 n-grams of abcd are in abc, all of its are found; n = 4 has none.

    P = (3/4 + 2/3 + 1/2) / 3 = 23/36,  R = 1,  5PR / (4P + R) = 115/128
    """
    assert chrf("abcd", "abc") == pytest.approx(100 * 115 / 128)
    assert chrf("abc", "abcd") == pytest.approx(100 * 5 * 23 / 36 / (4 + 23 / 36))  # recall counts more than precision


# From sacreBLEU 2.6, CHRF().sentence_score(program, [earlier]).
SACREBLEU = [
    ("print(a)", "print(b)", 61.48809523809524),
    ("x = 1\nprint(x)", "x=1\nprint( x )", 100.0),
    ("ab", "cd", 0.0),
    ("for i in range(n):\n    s += i", "for i in range(n):\n    s -= i\nprint(s)", 60.72566076990058),
    ("aaaa", "aa", 78.125),
    ("a", "abcabcabc", 13.513513513513512),
    ("", "abc", 0.0),
    ("abc", " \n", 0.0),
]


@pytest.mark.parametrize("program, earlier, expected", SACREBLEU)
def test_chrf_is_sacrebleus(program: str, earlier: str, expected: float) -> None:
    assert chrf(program, earlier) == pytest.approx(expected, abs=1e-9)


def test_successive_programs_pass_over_invalid_code() -> None:
    assert earlier_programs(["a", None, "b", "c"]) == [None, None, "a", "b"]
    assert earlier_programs([None, "a"]) == [None, None]
    assert earlier_programs([]) == []


def test_edits_and_repeats() -> None:
    programs = ["print(a)", None, "print(a)", "print(a) ", "print(b)"]
    assert repeats(programs) == [None, None, True, False, False]
    assert edits(programs)[:4] == [None, None, pytest.approx(100), pytest.approx(100)]
    assert edits(programs)[4] == pytest.approx(61.48809523809524)


def test_repairs_by_hand() -> None:
    """Of four episodes; a last response can no longer be repaired and is left out."""
    episodes = [
        (["wrong_output", "timeout", "accepted"], True),
        (["wrong_output", "wrong_output", "wrong_output"], False),
        (["timeout", "accepted"], True),
        (["wrong_output"], False),  # passed the public tests; or no room for another turn
    ]
    assert repairs(episodes) == {
        (0, "wrong_output"): (1, 2),
        (0, "timeout"): (1, 1),
        (1, "timeout"): (1, 1),
        (1, "wrong_output"): (0, 1),
    }


def test_a_response_that_passed_was_no_failure() -> None:
    """Without early stop a dialog goes on after its public tests passed."""
    assert repairs([(["accepted", "wrong_output", "accepted"], True)]) == {(1, "wrong_output"): (1, 1)}
