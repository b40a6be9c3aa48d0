"""`eqmm train`: from dataset files to a model file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("train")
@click.argument("arguments", nargs=-1, required=True, metavar="DATA... [SECTION.KEY=VALUE]...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Model file to write; the state of the training lies beside it in OUTPUT.train.",
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
@click.option("--show-config", is_flag=True, help="Print all settings as YAML and stop.")
def train(
    arguments: tuple[str, ...],
    output: Path,
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
    from eqmm_ase.config import load_config
    from eqmm_ase.fine_tuning import Start

    files = [argument for argument in arguments if "=" not in argument]
    starts = Start.of_members(start) if start else []
    settings = load_config(
        config,
        [argument for argument in arguments if "=" in argument],
        starts[0].settings() if starts else None,
    )
    if show_config:
        click.echo(settings.to_yaml(), nl=False)
        return
    if not files:
        raise click.UsageError("there is no dataset file to train on")
    if committee is None and len(starts) > 1:
        committee = len(starts)

    from rich.console import Console

    from eqmm_ase.commands.evaluate import show_metrics
    from eqmm_ase.model_file import load_model
    from eqmm_ase.plots import plot_learning_curve
    from eqmm_ase.train import is_first_process
    from eqmm_ase.train import train as run
    from eqmm_ase.train_committee import member_folders, train_committee
    from eqmm_ase.training_folder import TrainingFolder

    console = Console(stderr=True)
    try:
        if committee is None:
            run(files, output, settings, start=start, restart=restart, console=console)
        else:
            train_committee(
                files, output, committee, settings, start=start, restart=restart, console=console
            )
    except KeyboardInterrupt:
        console.print("the same command goes on from the last checkpoint", soft_wrap=True)
        raise
    if not is_first_process():
        return
    folders = [TrainingFolder(output)] if not committee else member_folders(output, committee)
    for folder in folders:
        plot_learning_curve(folder.history, folder.path / "learning_curve.png")
    _, card = load_model(output)
    show_metrics(card["metrics"].get("validation", {}), "errors on the validation frames")
