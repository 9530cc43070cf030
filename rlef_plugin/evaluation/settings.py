"""What one evaluation is: written to eval.json beside its rollouts, and compared with it when it goes on.

Two evaluations in one folder would be averaged without a word, so a resume must ask for the same model (a local one by
its path, config.json and the sizes and times of its weights, not their contents), problems (by a digest of the store),
episode (with the contents of its files), jail and strictness of the judge, and sampling. What only decides how much or
how fast (rollouts a problem, number of problems, engines, the judge's workers) may change; how much was asked for last
is kept, to know when an evaluation is complete.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlef_plugin import config
from rlef_plugin.config import RlefConfig
from rlef_plugin.errors import UsageError
from rlef_plugin.openrlhf_ext import host_cli

FILE = "eval.json"
LATER = ("unsafe_no_jail", "model_digest")  # older evaluations did not keep them
FREE = ("rollouts", "problems", "engines", "tensor_parallel", "url", "in_flight")  # may differ in a resume
WEIGHTS = (".safetensors", ".bin", ".pt")
PRESETS: dict[str, dict[str, Any]] = {  # docs/paper.md section 6
    "1@3": {"temperature": 0.2, "top_p": 0.95, "rollouts": 200},
    "10@100": {"temperature": 1.0, "top_p": 0.95, "rollouts": 200},
}


@dataclass(frozen=True)
class EvalSettings:
    """Lengths are in tokens; `max_len` bounds a whole episode, `max_new_tokens` one response."""

    model: str  # folder or hub id; with `url`, the name the server knows
    config: RlefConfig  # environment, episode, stores, judge
    url: str = ""  # of an OpenAI-compatible server, up to and with /v1; "" = vLLM in this process's Ray
    tokenizer: str = ""  # with `url`: folder or hub id of the model's tokenizer, to count feedback tokens by
    split: str = "valid"
    problems: int = 0  # the first so many of the split; 0 = all
    rollouts: int = 20  # a problem
    temperature: float = 0.2
    temperature_to: float | None = None  # each response at a temperature drawn between the two
    top_p: float = 0.95
    seed: int = 0
    max_len: int = 8192
    max_new_tokens: int = 2048
    engines: int = 1
    tensor_parallel: int = 1  # GPUs an engine
    in_flight: int = 64  # episodes at once, an engine

    def __post_init__(self) -> None:
        for key in ("rollouts", "max_len", "max_new_tokens", "engines", "tensor_parallel", "in_flight"):
            if getattr(self, key) < 1:
                raise UsageError(f"{key} is {getattr(self, key)}, but must be at least 1")
        if self.problems < 0:
            raise UsageError(f"problems is {self.problems}, but must be at least 0, which is all")
        if self.tensor_parallel > 1 and self.config.cpu_host:
            raise UsageError(f"tensor_parallel={self.tensor_parallel} on the CPU host: an engine there is one process")
        if self.temperature_to is not None and not self.temperature <= self.temperature_to < math.inf:
            raise UsageError(
                f"temperature_to={self.temperature_to} must be finite and no less than temperature={self.temperature}"
            )
        if not math.isfinite(self.temperature) or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise UsageError(
                f"temperature={self.temperature} and top_p={self.top_p}: the first must be finite and not negative, "
                "the second must be in (0, 1]"
            )

    def identity(self) -> dict[str, Any]:
        """What two processes must agree on to write into one folder; flat, as eval.json keeps it."""
        values = {key: value for key, value in asdict(self).items() if key not in (*FREE, "config")}
        episode = self.config.episode
        played = {"env": self.config.env, "episode": asdict(episode), "served": bool(self.url)}
        judge = self.config.judge
        judged = {key: getattr(judge, key) for key in ("strict_exit", "unsafe_no_jail")}
        if self._local:
            values["model"] = str(Path(self.model).absolute())
        files = {"model_digest": _model_digest(Path(self.model)) if self._local else ""}
        files |= {"prompts_digest": _digest(episode.prompts), "few_shot_digest": _digest(episode.few_shot)}
        return dict(json.loads(json.dumps({**values, **played, **judged, **files})))

    @property
    def _local(self) -> bool:
        """Whether the model is a folder here; a server's name for one means nothing here."""
        return not self.url and Path(self.model).is_dir()

    def check(self, folder: Path, extra: dict[str, Any]) -> None:
        """That a folder which holds an evaluation holds this one.

        Raises:
            UsageError: it is another one.
        """
        if not (folder / FILE).is_file():
            return
        before, now = read(folder), {**self.identity(), **extra}
        if "model_digest" not in before and before["model"] == self.model:
            before["model"] = now["model"]  # older evaluations keep a folder's path as it was given
        compared = [key for key in now if key in before or key not in LATER]
        differs = next((key for key in compared if before.get(key) != now[key]), None)
        if differs:
            raise UsageError(
                f"{folder} holds an evaluation with {differs}={before.get(differs)!r}, not {now[differs]!r}: "
                "choose another folder with --out, or ask for the same"
            )

    def write(self, folder: Path, extra: dict[str, Any], problems: int) -> None:
        """Keep the settings, `extra` facts (fingerprint of the store), and how much is asked for."""
        asked = {"asked": {"problems": problems, "rollouts": self.rollouts}}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps({**self.identity(), **extra, **asked}, indent=1) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """eval.json of a folder.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError(f"{folder} holds no {FILE}: name the folder that `rlef eval --out` wrote")
    try:
        found = dict(json.loads(path.read_text()))
        int(found["episode"]["turn_limit"])  # without it nothing can be scored
        return found
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path} is damaged ({error!r}): bring it back, or evaluate into another folder") from None


def config_of(env: str, store: Path, out: Path, overrides: Sequence[str]) -> RlefConfig:
    """The plugin's settings of an evaluation; `overrides` like `rlef.feedback_tokens=300`.

    Raises:
        UsageError: an unknown key, with the nearest valid one, or a value it cannot have.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.error = host_cli.refuse  # type: ignore[method-assign]
    config.add_flags(parser)
    for item in overrides:
        if "=" not in item:
            raise UsageError(f"{item!r} is not key=value: write, for example, rlef.feedback_tokens=300")
    own, unknown = parser.parse_known_args(["--env", env, *(f"--{item}" for item in overrides)])
    if unknown:
        known = [name for name, *_ in config.fields()]
        raise UsageError(host_cli.unknown_key(unknown[0].removeprefix("--").partition("=")[0], known))
    return config.from_flags(vars(own), (str(store.absolute()),), str(out.absolute()))


def sampling(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `EvalSettings`: the preset's ("" = none), under those that were given (not None)."""
    if preset and preset not in PRESETS:
        raise UsageError(f"--preset {preset}: choose one of {', '.join(PRESETS)}")
    return {**PRESETS.get(preset, {}), **{key: value for key, value in given.items() if value is not None}}


def _model_digest(folder: Path) -> str:
    """Of a model's config.json, and of names, sizes and times of the files with its weights."""
    config = folder / "config.json"
    parts = [config.read_bytes() if config.is_file() else b""]
    for file in sorted(one for one in folder.iterdir() if one.suffix in WEIGHTS):
        told = file.stat()
        parts.append(f"{file.name}\n{told.st_size}\n{told.st_mtime_ns}".encode())
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


def _digest(path: str) -> str:
    """Of a file, or of the prompt files in a folder; "" for no path."""
    if not path:
        return ""
    files = sorted(Path(path).glob("*.txt")) if Path(path).is_dir() else [Path(path)]
    try:
        contents = [f"{file.name}\n".encode() + file.read_bytes() for file in files]
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): change rlef.prompts or rlef.few_shot") from None
    return hashlib.sha256(b"\n".join(contents)).hexdigest()[:16]
