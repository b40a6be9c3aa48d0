"""Active learning: a committee finds what it does not know, has it labelled, and learns it.

    folder/learning.json              what defines the learning; another one is refused
    folder/round-0/train.h5           the given labels, and validation.h5, which no round trains on
    folder/round-0/committee.eqmm     trained on them
    folder/round-1/uncertain.h5       frames at which that committee was uncertain
    folder/round-1/labels.h5          their labels, from round-1/labels.h5.campaign
    folder/round-1/train.h5           nine tenths of these, and validation.h5, the rest
    folder/round-1/committee.eqmm     round-0's, trained on with the labels of all rounds
    folder/round-2/…

Each file is written in one step, and what exists is not made again: killed at any moment, the
learning goes on when it is started again, and given more rounds it adds those.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from datagen.campaigns.campaign import label_frames
from datagen.campaigns.status import Progress
from datagen.labels.devices import refuse_unknown
from datagen.labels.method import Method
from datagen.processes.executors import cores
from eqmm_ase.atomic_write import write_text
from eqmm_ase.calculator.eqmm import EqMM
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.selection import split
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.settings_help import with_help
from eqmm_ase.settings_reader import build
from eqmm_ase.simulation.exploration import explore, trajectories_bar
from eqmm_ase.simulation.exploration_settings import ExplorationSettings
from eqmm_ase.terminal import messages, say
from eqmm_ase.training.config import TrainConfig, load_config
from eqmm_ase.training.data import read_files
from eqmm_ase.training.fine_tuning import Start
from eqmm_ase.training.train import train

VALIDATION_FRACTION = 0.1
"""Of the given labels, whole trajectories where there are three, and of those of each round."""


class LearningError(ValueError):
    """The learning cannot begin or go on; one sentence."""


@with_help
@dataclass(frozen=True)
class LearningSettings:
    """How a committee learns."""

    rounds: int = 3
    """Of exploring, labelling and training; more may be asked for later."""

    members: int = 4
    """Models in the committee."""

    exploration: ExplorationSettings = field(default_factory=ExplorationSettings)
    """How frames are looked for; the seed of a round is this one plus its number."""

    training: tuple[str, ...] = ()
    """Settings of all trainings, of the form ``section.key=value``."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise LearningError(f"rounds is {self.rounds}; expected at least 1")
        if self.members < 2:
            raise LearningError(f"members is {self.members}; expected at least 2")
        _check_training(self.config())

    def config(self, start: Path | None = None) -> TrainConfig:
        """Settings of one training, from scratch or from a committee."""
        defaults = Start.of_members(start)[0].settings() if start else None
        return load_config(None, self.training, defaults)


def _check_training(config: TrainConfig) -> None:
    """Refuse settings of the trainings that have no effect in learning."""
    data = config.data
    if data.validation or data.validation_fraction != VALIDATION_FRACTION:
        raise LearningError(
            "data.validation and data.validation_fraction have no effect in learning, which "
            "keeps a tenth of the labels of each round to validate on; leave them out"
        )
    if data.baseline:
        raise LearningError(
            "data.baseline is set, but learning makes labels of one method only; leave it out"
        )


class Round:
    """The files of one round."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.path = folder / f"round-{number}"
        self.uncertain = self.path / "uncertain.h5"
        self.labels = self.path / "labels.h5"
        self.train = self.path / "train.h5"
        self.validation = self.path / "validation.h5"
        self.committee = self.path / "committee.eqmm"


def learn(
    files: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    settings: LearningSettings,
    *,
    workers: int | None = None,
    label_device: str = "cpu",
    console: Console | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Path]:
    """Train a committee on labelled frames, then let it find, and learn, what it does not know.

    Parameters
    ----------
    files
        `eqmm-dataset` files of one level of theory, made by `datagen`, to begin with.
    folder
        Where everything is kept; made when it does not exist.
    settings
        How.
    workers
        Processes that label; all cores when None, 0 for this process.
    label_device
        Where they compute, ``cpu`` or ``gpu``, as in `datagen.label_frames`.
    console
        Where progress goes; standard error when None.
    on_progress
        Called while frames are labelled.

    Returns
    -------
    list of Path
        The committee of each round, the first trained on the given labels alone. There are fewer
        than `settings.rounds` + 1 when one knew every structure it came to.

    Raises
    ------
    LearningError
        A folder of another learning, labels of another program, frames that cannot be labelled.
    DatasetError, ConfigError, RunError, CampaignError, DeviceError, OSError
        As training, exploring and labelling.
    """
    refuse_unknown(label_device)
    folder, console = Path(folder), console or messages()
    frames, method, content_hash = read_files([Path(path) for path in files])
    level = _level(method)
    _claim(folder, settings, content_hash)
    rounds = [Round(folder, 0)]
    _keep(rounds[0], frames, method, settings.exploration.seed)
    _train(rounds, settings, console)
    for number in range(1, settings.rounds + 1):
        this = Round(folder, number)
        this.path.mkdir(exist_ok=True)
        if not this.uncertain.exists():
            _explore(rounds, this, settings, console)
        uncertain = read_frames(this.uncertain)
        if not uncertain:
            say(console, f"round {number}: the committee knew every structure it came to")
            break
        if not this.labels.exists():
            processes = cores() if workers is None else workers
            _label(uncertain, this, level, processes, label_device, on_progress)
        labelled = read_frames(this.labels)
        say(console, f"round {number}: {len(labelled)} of {len(uncertain)} frames labelled")
        _keep(this, labelled, method, settings.exploration.seed)
        rounds.append(this)
        _train(rounds, settings, console)
    return [each.committee for each in rounds]


def _level(method: Mapping[str, Any]) -> Method:
    """The level of theory that a dataset was labelled with."""
    if method.get("program") != "pyscf":
        raise LearningError(
            f"the labels to begin with were made by {method.get('program', 'an unnamed program')}; "
            "expected labels of eqmm-datagen, which can make more of the same kind"
        )
    known = {each.name for each in fields(Method)}
    return build(Method(), {name: value for name, value in method.items() if name in known})


def _claim(folder: Path, settings: LearningSettings, content_hash: str) -> None:
    """Make the folder, or make sure that it holds the same learning."""
    defining = asdict(replace(settings, rounds=1))
    del defining["rounds"]
    wanted = json.dumps({"labels": content_hash, **defining}, indent=1)
    mark = folder / "learning.json"
    if mark.is_file():
        found, asked = json.loads(mark.read_text(encoding="utf-8")), json.loads(wanted)
        if "walls" in (exploration := found.get("exploration", {})):  # as earlier versions said
            exploration["restraints"] = exploration.pop("walls")
        changed = [name for name in asked if found.get(name) != asked[name]]
        if changed:
            raise LearningError(
                f"{folder} holds a learning with other {' and '.join(changed)}; "
                "give another folder, or the same settings"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LearningError(f"{folder} exists and holds no learning; give another folder")
    folder.mkdir(exist_ok=True)
    write_text(mark, wanted)


def _keep(this: Round, frames: Sequence[Frame], method: Mapping[str, Any], seed: int) -> None:
    """Split labels into those to train on and those to validate on."""
    this.path.mkdir(exist_ok=True)
    training, validation, _ = split(frames, VALIDATION_FRACTION, seed)
    write_frames(this.validation, [frames[i] for i in validation], method)
    write_frames(this.train, [frames[i] for i in training], method)


def _train(rounds: Sequence[Round], settings: LearningSettings, console: Console) -> None:
    this = rounds[-1]
    if this.committee.exists():
        return
    before = rounds[-2].committee if len(rounds) > 1 else None
    config = settings.config(before)
    held = tuple(str(each.validation) for each in rounds if read_frames(each.validation))
    config = replace(config, data=replace(config.data, validation=held))
    say(console, f"round {this.number}: training")
    train(
        [each.train for each in rounds],
        this.committee,
        config,
        n_members=settings.members,
        start=before,
        console=console,
    )


def _explore(
    rounds: Sequence[Round], this: Round, settings: LearningSettings, console: Console
) -> None:
    starts = [frame for each in rounds for frame in read_frames(each.train)]
    own = replace(settings.exploration, seed=settings.exploration.seed + this.number)
    found, counts = [], Counter[str]()
    with trajectories_bar(own, console) as bar:
        for visit in explore(EqMM(rounds[-1].committee), starts, own):
            counts[visit.outcome] += 1
            if visit.frame is not None:
                found.append(visit.frame)
            bar.advance()
            bar.say(f"{visit.line(own)}{bar.spoken_left()}")
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    say(console, f"round {this.number}: {counts.total()} trajectories, {told}")
    facts = {"exploration": {**asdict(own), "outcomes": dict(counts)}}
    write_frames(this.uncertain, found, facts)


def _label(
    frames: Sequence[Frame],
    this: Round,
    level: Method,
    workers: int,
    device: str,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    summary = label_frames(
        frames,
        level,
        this.path / "labels.h5.campaign",
        workers=workers,
        device=device,
        output=this.labels,
        on_progress=on_progress,
    )
    if not summary.done:
        reason, _, example = summary.failures[0]
        raise LearningError(
            f"none of the {len(frames)} frames of {this.uncertain} could be labelled "
            f"({reason}: {example})"
        )
