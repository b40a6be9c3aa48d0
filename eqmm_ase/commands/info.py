"""`eqmm info`: what a model file or a dataset file holds."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("info")
@click.argument("file", type=click.Path(path_type=Path))
def info(file: Path) -> None:
    """Describe the model or dataset in FILE."""
    from eqmm_ase.commands.evaluate import show_metrics
    from eqmm_ase.evaluation.tables import dataset_table, is_dataset, model_table
    from eqmm_ase.network.model_file import load_model
    from eqmm_ase.terminal import show_table

    if is_dataset(file):
        show_table(dataset_table(file))
        return
    _, card = load_model(file)
    show_table(model_table(file, card))
    for name, metrics in card.get("metrics", {}).items():
        show_metrics(metrics, f"errors on the {name} frames")
