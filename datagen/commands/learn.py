"""``eqmm-datagen learn``: explore, label and train, round after round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datagen.commands.campaign_output import ShownProgress
from datagen.commands.options import device_option, refuse_workers_of_gpu
from datagen.learning import LearningSettings
from datagen.learning import learn as run
from eqmm_ase.command_line import files_and_settings
from eqmm_ase.commands.evaluate import show_metrics
from eqmm_ase.commands.explore import exploration_options
from eqmm_ase.network.model_file import load_model
from eqmm_ase.setting_options import setting_options, settings_from
from eqmm_ase.simulation.exploration_settings import ExplorationSettings
from eqmm_ase.terminal import messages


@click.command(context_settings={"show_default": True})
@click.argument("arguments", nargs=-1, required=True, metavar="LABELS... [SECTION.KEY=VALUE]...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for everything; the committees are OUTPUT/round-N/committee.eqmm.",
)
@setting_options(
    LearningSettings, names={"members": "--committee"}, without=("exploration", "training")
)
@exploration_options
@click.option("--seed", default=0, help="Of exploring; that of training is training.seed.")
@click.option("--workers", type=click.IntRange(min=1), help="Labelling.  [default: all cores]")
@device_option("--label-device")
@click.pass_context
def learn(
    context: click.Context,
    arguments: tuple[str, ...],
    output: Path,
    workers: int | None,
    label_device: str,
    **options: Any,
) -> None:
    """Train a committee on LABELS, then let it find, and learn, what it does not know.

    In each round its dynamics stop where its members disagree (`eqmm explore`); the frames found
    are labelled at the level of theory of LABELS (`eqmm-datagen label`), and each member goes on
    from its own weights with all labels (`eqmm train --from`). SECTION.KEY=VALUE are settings of
    the trainings. The same command goes on where it was interrupted.
    """
    refuse_workers_of_gpu(context, "--label-device", label_device)
    files, overrides = files_and_settings(arguments)
    own = {name: options.pop(name) for name in ("rounds", "members")}
    settings = LearningSettings(
        **own,
        exploration=settings_from(ExplorationSettings, options),
        training=tuple(overrides),
    )
    if not files:
        raise click.UsageError("there is no dataset file to begin with")
    console = messages()
    with ShownProgress(console) as shown:
        committees = run(
            files,
            output,
            settings,
            workers=workers,
            label_device=label_device,
            console=console,
            on_progress=shown.update,
        )
    for path in committees:
        _, card = load_model(path)
        title = f"{path}, {card['n_training_frames']} frames: errors on the validation frames"
        show_metrics(card["metrics"].get("validation", {}), title)
