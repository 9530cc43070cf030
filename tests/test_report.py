"""The report: numbers known in advance on the page, in JSON and CSV; and the page in a real headless browser."""

import csv
import html
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlef_plugin.commands.evaluation import _named, analyze
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import page, report
from rlef_plugin.evaluation.rollouts import Message, Rollout, RolloutFolder, Turn
from rlef_plugin.evaluation.settings import EvalSettings, config_of, sampling

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
EPISODE = {"turn_limit": 3, "early_stop": True, "feedback": "public"}
SETTINGS = {"model": "m", "split": "valid", "temperature": 0.2, "top_p": 0.95, "episode": EPISODE}
HOSTILE = "</pre><script>document.title = 'taken'</script> & <b>bold</b>"


def turn(verdict: str, public: bool, code: str) -> Turn:
    return Turn(verdict, public, 0.0, code, 9, 0.1, 0.1, 0.25, 12.0)


def rollout(problem: int, index: int) -> Rollout:
    """Even problems are repaired at the second turn, odd ones never solved."""
    wrong, right = turn("wrong_output", False, "print(1)"), turn("accepted", True, "print(2)")
    turns = (wrong, right) if problem % 2 == 0 else (wrong, wrong, turn("timeout", False, "while 1: pass"))
    texts = [text for n in range(len(turns)) for text in (f"asked {n} {HOSTILE}", f"answer {n}")]
    messages = tuple(Message(("user", "assistant")[n % 2], text) for n, text in enumerate(texts))
    return Rollout(f"problem-{problem}", index, problem % 2 == 0, turns, messages)


def folder(path: Path, problems: int, split: str = "valid") -> Path:
    kept = RolloutFolder(path / "rollouts")
    for problem in range(problems):
        for index in range(4):
            kept.append(rollout(problem, index))
    kept.close()
    (path / "eval.json").write_text(json.dumps({**SETTINGS, "split": split}))
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("report")
    runs = [report.load(folder(work / "a", 4), "first"), report.load(folder(work / "b", 3))]
    report.write(runs, work / "out" / "report.html")
    return work / "out" / "report.html"


def text_of(written: Path) -> str:
    return html.unescape(re.sub(r"<(style|script|svg).*?</\1>|<[^>]*>", " ", written.read_text(), flags=re.S))


def test_the_same_numbers_are_on_the_page_in_json_and_in_csv(written: Path) -> None:
    """4 problems, 2 of them solved by every rollout: 1@3 is 50%, 1@1 is 0; of 3 problems it is 2 of 3."""
    first, second = json.loads(written.with_suffix(".json").read_text())
    assert {(one["name"], one["turn_limit"]): one["rate"]["mean"] for one in first["scores"]} == {
        ("1@3", 3): 0.5,
        ("1@10", 3): 0.5,
        ("1@1", 1): 0.0,
        ("1@3", 1): 0.0,
    }
    assert second["scores"][0]["rate"]["mean"] == pytest.approx(2 / 3)
    assert first["problems"]["problem-2"] == {"samples": 4, "public": 4, "solved": 4, "solved_by_turn": [0, 4, 4]}
    assert second["problems"]["problem-1"] == {"samples": 4, "public": 0, "solved": 0, "solved_by_turn": [0, 0, 0]}
    lines = list(csv.DictReader(written.with_suffix(".csv").open()))
    (line,) = [one for one in lines if one["run"] == "first" and one["what"] == "solved by turn 2"]
    assert float(line["mean"]) == 0.5 and float(line["low"]) <= 0.5 <= float(line["high"])
    text = text_of(written)
    assert re.search(r"first\s+1@3\s+3\s+50\.0\s", text) and re.search(r"b\s+1@3\s+3\s+66\.7\s", text)
    assert re.search(r"programs repeated\s+33\.3", text)  # 2 of 6 pairs: (1, 2), (1, 1), (1, loop), ...


def test_says_where_the_protocol_is_not_the_papers(written: Path) -> None:
    unlike = "4 problems of split valid, not 117; 4 rollouts a problem, not 200"
    assert f"first is not the paper's protocol: {unlike}." in text_of(written)
    assert page.differences(SETTINGS, 117, 200) == []
    other = {**SETTINGS, "top_p": 1.0, "episode": {**EPISODE, "feedback": "random", "turn_limit": 5}}
    assert page.differences(other, 117, 200) == [
        *("turn_limit is 5, not 3", "feedback is random, not public", "top_p is 1.0, not 0.95"),
    ]
    assert "17.2" in text_of(written)  # Llama 3.1 8B + RLEF on valid


@pytest.mark.parametrize(
    "change, said",
    [
        ({"temperature_to": 1.0}, "temperature_to is 1.0, not unset"),
        ({"temperature": 0.7}, "temperature is 0.7, not 0.2 or 1.0"),
        (
            {"env": "rlef_plugin.HumanEvalPlusEnv"},
            "env is rlef_plugin.HumanEvalPlusEnv, not rlef_plugin.CodeContestsEnv",
        ),
        ({"episode": {**EPISODE, "early_stop": False}}, "early_stop is False, not True"),
        ({"episode": {**EPISODE, "few_shot": "sft.jsonl"}}, "few_shot is sft.jsonl, not unset"),
        ({"episode": {**EPISODE, "reward": "fraction"}}, "reward is fraction, not binary"),
        ({"episode": {**EPISODE, "prompts": "/words"}}, "prompts is /words, not unset"),
        ({"episode": {**EPISODE, "time_limit_s": 300.0}}, "time_limit_s is 300.0, not 10.0"),
        ({"episode": {**EPISODE, "memory_limit_mb": 16000}}, "memory_limit_mb is 16000, not 1024"),
        ({"episode": {**EPISODE, "feedback_tokens": 60}}, "feedback_tokens is 60, not 512 or more"),
        ({"max_len": 256}, "max_len is 256, not 8192 or more"),
        ({"max_new_tokens": 8}, "max_new_tokens is 8, not 2048 or more"),
        ({"unsafe_no_jail": True}, "unsafe_no_jail is True, not False"),
        ({"repaired_by": "b"}, "two models were composed, not one evaluated"),
    ],
)
def test_every_part_of_the_protocol_is_compared(change: dict[str, Any], said: str) -> None:
    assert page.differences({**SETTINGS, **change}, 117, 200) == [said]


def test_the_defaults_of_an_evaluation_are_the_protocol() -> None:
    """What the page compares has the names under which eval.json keeps it."""
    config = config_of("rlef_plugin.CodeContestsEnv", Path("store"), Path("out"), [])
    kept = EvalSettings(model="m", config=config, **sampling("10@100", {})).identity()
    compared = page._paper()["protocol"]
    assert {*compared["exactly"], *compared["at_least"]} <= {*kept, *kept["episode"]}
    assert page.differences(kept, 117, 200) == []


def test_the_protocol_is_followed_for_the_row_of_its_temperature(tmp_path: Path) -> None:
    run = report.load(folder(tmp_path, 1))
    many = replace(run, rollouts=[rollout(0, n) for n in range(200)], behaviour=replace(run.behaviour, problems=117))
    assert "follows the paper's protocol for 1@3." in html.unescape(page.render([many], {}))


def test_an_incomplete_evaluation_is_called_so(tmp_path: Path) -> None:
    made = folder(tmp_path, 4)
    (made / "eval.json").write_text(json.dumps({**SETTINGS, "asked": {"problems": 5, "rollouts": 4}}))
    run = report.load(made, "first")
    said = "Incomplete: 16 of 20 rollouts are played"
    assert said in page.render([run], {}) and report.as_dict(run)["incomplete"].startswith(said)


def strict(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def test_what_is_not_known_is_null_in_json(tmp_path: Path) -> None:
    """Without early stop only the last turn is known, and one rollout that is right at once has no edits."""
    kept = RolloutFolder(tmp_path / "rollouts")
    kept.append(
        Rollout("p", 0, True, (turn("accepted", True, "1"),), (Message("user", "q"), Message("assistant", "a")))
    )
    kept.close()
    (tmp_path / "eval.json").write_text(json.dumps({**SETTINGS, "episode": {**EPISODE, "early_stop": False}}))
    run = report.load(tmp_path)
    report.write([run], tmp_path / "out.html")
    (written,) = json.loads((tmp_path / "out.json").read_text(), parse_constant=strict)
    assert written["behaviour"]["chrf_mean"] is None
    assert [rate["mean"] for rate in written["behaviour"]["solved_by_turn"]] == [None, None, 1.0]
    assert "solved by turn 3" in dict(page.rates(run)) and "solved by turn 1" not in dict(page.rates(run))


def test_analyze_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    analyze([str(folder(tmp_path, 1))], as_json=True)
    (run,) = json.loads(capsys.readouterr().out, parse_constant=strict)
    assert run["behaviour"]["false_hope"]["mean"] == 0


def test_the_page_needs_nothing_from_anywhere(written: Path) -> None:
    source = written.read_text()
    assert not re.search(r"""(?:src|href)\s*=|@import|url\((?!#)""", re.sub(r'xlink:href="#|href="#', "", source))
    assert source.count("<svg") == 5


def test_text_of_models_and_programs_is_escaped(written: Path) -> None:
    assert HOSTILE not in written.read_text() and html.escape(HOSTILE) in written.read_text()


def test_examples_are_of_every_kind_and_of_different_problems() -> None:
    found = dict(page.examples([rollout(problem, index) for problem in range(10) for index in range(4)]))
    assert [one.problem for one in found["repaired"]] == [f"problem-{n}" for n in (0, 2, 4, 6)]
    assert [one.problem for one in found["never solved"]] == [f"problem-{n}" for n in (1, 3, 5, 7)]
    assert found["false hope"] == found["solved at once"] == []


def test_plots_are_pictures_beside_the_page(written: Path) -> None:
    found = sorted(path.name for path in written.parent.glob("*.png"))
    assert found == [f"report-{name}.png" for name in ("budget", "chrf", "errors", "recovery", "solved")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written.parent.glob("*.png"))


def test_behaviour_in_a_terminal(tmp_path: Path) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    report.show([report.load(folder(tmp_path, 4), "first")], console)
    shown = console.export_text()
    assert "solved by turn 2" in shown and "50.0" in shown and max(map(len, shown.splitlines())) <= 80


def test_nothing_to_show_is_no_error(tmp_path: Path) -> None:
    """One rollout, solved at once: no errors, no successive programs, so no plots of them."""
    kept = RolloutFolder(tmp_path / "rollouts")
    kept.append(
        Rollout("p", 0, True, (turn("accepted", True, "1"),), (Message("user", "q"), Message("assistant", "a")))
    )
    kept.close()
    (tmp_path / "eval.json").write_text(json.dumps(SETTINGS))
    run = report.load(tmp_path)
    assert set(report.draw([run])) == {"solved", "budget"} and math.isnan(run.behaviour.chrf_mean)
    report.write([run], tmp_path / "out.html")


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser among {', '.join(BROWSERS)} (Debian: apt-get install chromium-headless-shell)")
    return found


def opened(browser: str, url: str, *options: str) -> str:
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000")
    return subprocess.run(
        [browser, *flags, *options, url], capture_output=True, text=True, timeout=120, check=True
    ).stdout


def test_dialogs_can_be_paged_through_in_a_browser(browser: str, written: Path, tmp_path: Path) -> None:
    """Two clicks on Next, one on Previous; and nothing that a model wrote has run as a script."""
    clicks = "<script>for (const id of ['next', 'next', 'previous']) document.getElementById(id).click();</script>"
    clicked = tmp_path / "clicked.html"
    clicked.write_text(written.read_text().replace("</body>", f"{clicks}</body>"))
    dom = opened(browser, clicked.as_uri(), "--dump-dom")
    dialogs = re.findall(r'<div class="dialog( shown)?">', dom)
    assert [place for place, shown in enumerate(dialogs) if shown] == [1]
    assert f">2 of {len(dialogs)}<" in dom and "<title>Execution feedback</title>" in dom


@pytest.mark.parametrize("width", [360, 1200])
def test_fits_a_phone_and_a_desk(browser: str, written: Path, tmp_path: Path, width: int) -> None:
    """Inside a frame of that width nothing has to be scrolled sideways; wide tables scroll in a box of their own."""
    inside = tmp_path / "report.html"
    measure = "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script>"
    inside.write_text(written.read_text().replace("</body>", f"{measure}</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="report.html" style="width:{width}px;height:800px;border:0"></iframe>'
        "<script>onmessage = (e) => document.body.append(`width ${e.data}.`)</script>"
    )
    dom = opened(browser, frame.as_uri(), "--dump-dom", "--window-size=1600,1000", "--allow-file-access-from-files")
    (found,) = re.findall(r"width (\d+)\.", dom)
    assert int(found) <= width


def test_a_screenshot_is_not_empty(browser: str, written: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    opened(browser, written.as_uri(), f"--screenshot={picture}", "--window-size=1000,1400")
    assert picture.stat().st_size > 40_000  # an empty page of this size takes 8 kB


@pytest.mark.parametrize("name", ["report.json", "report.csv", "report.png", "report", "folder.html", ""])
def test_a_page_is_no_other_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match="is no name for a page: name a file that ends in .html"):
        report.check_target(tmp_path / name)


def test_a_page_s_numbers_do_not_go_over_an_evaluation_s_settings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="eval.html would put its numbers over an evaluation's eval.json"):
        report.check_target(tmp_path / "eval.html")


def test_rows_of_behaviour_stay_together_whichever_run_lacks_some() -> None:
    few = {"solved by turn 3": 1, "wrong output at turn 1": 2, "false hope": 3}
    many = {"solved by turn 1": 0, "solved by turn 3": 1, "wrong output at turn 1": 2}
    many |= {"wrong output at turn 1, solved by turn 2": 3, "wrong output at turn 1, solved by turn 3": 4}
    names = page._ordered([few, {**many, "1@3": 9}])
    assert names == [*many, "false hope"] and page._ordered([many, few]) == names
    timeouts = {"timeout at turn 1": 1, "timeout at turn 1, solved by turn 2": 2}
    shown = page._ordered([many, timeouts, {"wrong output at turn 1, solved by turn 9": 1}])
    assert shown[4:6] == ["wrong output at turn 1, solved by turn 3", "wrong output at turn 1, solved by turn 9"]
    assert shown[-2:] == list(timeouts)


def test_folders_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    folders = [str(tmp_path / f"seed-{seed}" / "evals" / "base") for seed in (0, 1)]
    assert [name for _, name in _named(folders)] == ["seed-0/evals/base", "seed-1/evals/base"]
    assert [name for _, name in _named([folders[0], f"{folders[1]}=mine"])] == ["base", "mine"]
