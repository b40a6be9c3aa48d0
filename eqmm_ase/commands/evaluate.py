"""`eqmm evaluate`: a table of errors, a JSON file, and parity plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click


@click.command("evaluate")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for metrics.json and plots.",
)
@click.option("--batch-size", type=click.IntRange(1), default=10, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, …")
def evaluate(model: Path, data: Path, output: Path | None, batch_size: int, device: str) -> None:
    """Compare MODEL with the labels of the dataset file DATA, by medium."""
    from rich.console import Console

    from eqmm_ase.calibration import Calibration
    from eqmm_ase.delta import difference as from_baseline
    from eqmm_ase.evaluate import evaluate as run
    from eqmm_ase.evaluate import write_metrics
    from eqmm_ase.fingerprints import among, fingerprints, from_text
    from eqmm_ase.level_of_theory import different_level, method_of
    from eqmm_ase.model_file import load_model
    from eqmm_ase.reliability import reliability
    from eqmm_ase.training_data import read_files

    network, card = load_model(model)
    frames, method, content_hash = read_files([data])
    if "baseline" in card:
        frames = [from_baseline(frame) for frame in frames]
    errors = Console(stderr=True)
    if difference := different_level(method, method_of(card)):
        errors.print(
            f"warning: {data} was labelled with {difference} as the model's training set; the "
            "errors compare two levels of theory",
            soft_wrap=True,
            markup=False,
        )
    learned = from_text(card.get("training_fingerprints", ""))
    if doubles := int(among(fingerprints(frames), learned).sum()):
        errors.print(
            f"warning: the model was trained on {doubles} of the {len(frames)} frames, so that "
            "errors on them say nothing about other frames",
            soft_wrap=True,
            markup=False,
        )
    with errors.status(f"{len(frames)} frames"):
        result = run(
            network, frames, card.get("charge_scheme"), batch_size=batch_size, device=device
        )
    show_metrics(result.metrics, f"{model} on {data}: {result.n_frames} frames")
    calibration = Calibration.from_dict(card.get("calibration", {}))
    reliable = reliability(result.deviations, calibration)
    show_reliability(reliable)
    click.echo(f"{1000 * result.seconds_per_frame:.1f} ms per frame")
    if output is not None:
        from eqmm_ase.plots import plot_parity, plot_reliability

        output.mkdir(parents=True, exist_ok=True)
        facts: dict[str, Any] = {
            "model": str(model),
            "dataset": str(data),
            "dataset_hash": content_hash,
        }
        facts |= {"uncertainty": reliable} if reliable else {}
        write_metrics(output / "metrics.json", result, facts)
        written = plot_parity(result, output, data.name)
        click.echo(f"metrics.json and {len(written)} parity plots are in {output}")
        if reliable:
            plot_reliability(result.deviations, calibration, output / "reliability.png", data.name)
            click.echo("reliability.png shows errors against uncertainties")


def show_metrics(metrics: Mapping[str, Any], title: str) -> None:
    """Print the table of errors, or nothing where there are none."""
    from rich.console import Console

    from eqmm_ase.tables import metrics_table

    if metrics:
        Console().print(metrics_table(metrics, title))


def show_reliability(found: Mapping[str, Any]) -> None:
    """Print how uncertainties relate to errors, or nothing for a single model."""
    from rich.console import Console

    from eqmm_ase.tables import reliability_table

    if found:
        Console().print(reliability_table(found, "uncertainty of the committee"))
