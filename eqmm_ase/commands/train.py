"""`eqmm train`: from dataset files to a model file."""

from __future__ import annotations

from pathlib import Path

import click

from eqmm_ase.command_line import files_and_settings


@click.command("train")
@click.argument("arguments", nargs=-1, metavar="DATA... [SECTION.KEY=VALUE]...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Model file to write; the state of the training lies beside it in OUTPUT.train.  "
    "[required]",
)
@click.option("--config", type=click.Path(path_type=Path), help="YAML file with settings.")
@click.option(
    "--committee",
    type=click.IntRange(2),
    help="Train so many models that differ in their seeds: their mean, and how far they differ. "
    "[default with --from: as many as that file holds]",
)
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    help="Model file whose weights to start from (fine-tuning); a committee goes on as one.",
)
@click.option("--restart", is_flag=True, help="Throw away an earlier training for OUTPUT.")
@click.option(
    "--show-config",
    is_flag=True,
    help="Print all settings with their meanings as YAML, as --config reads it, and stop; needs "
    "neither DATA nor --output.",
)
def train(
    arguments: tuple[str, ...],
    output: Path | None,
    config: Path | None,
    committee: int | None,
    start: Path | None,
    restart: bool,
    show_config: bool,
) -> None:
    """Train a model on the dataset files DATA.

    The same command goes on with a training that was interrupted. Any setting can be given as
    SECTION.KEY=VALUE, such as training.max_steps=20000 or model.channels=32.
    """
    from eqmm_ase.training.config import TrainConfig, load_config
    from eqmm_ase.training.fine_tuning import Start

    files, overrides = files_and_settings(arguments)
    starts = Start.of_members(start) if start else []
    defaults = starts[0].settings() if starts else TrainConfig()
    settings = load_config(config, overrides, defaults)
    if show_config:
        click.echo(settings.to_yaml(defaults), nl=False)
        return
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    if not files:
        raise click.UsageError("there is no dataset file to train on")

    from eqmm_ase.commands.evaluate import show_metrics
    from eqmm_ase.evaluation.plots import plot_learning_curve
    from eqmm_ase.network.model_file import load_model
    from eqmm_ase.terminal import messages, say
    from eqmm_ase.training.fit import is_first_process
    from eqmm_ase.training.train import member_folders
    from eqmm_ase.training.train import train as run

    console, n_members = messages(), committee or max(len(starts), 1)
    try:
        run(
            files,
            output,
            settings,
            n_members=n_members,
            start=start,
            restart=restart,
            console=console,
        )
    except KeyboardInterrupt:
        say(console, "the same command goes on from the last checkpoint")
        raise
    if not is_first_process():
        return
    for folder in member_folders(output, n_members):
        plot_learning_curve(folder.history, folder.path / "learning_curve.png")
    _, card = load_model(output)
    show_metrics(card["metrics"].get("validation", {}), "errors on the validation frames")
