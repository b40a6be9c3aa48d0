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
    """Compare MODEL with the labels of the dataset file DATA, by medium.

    What of DATA lies outside what MODEL was trained on is said before the table.
    """
    from eqmm_ase.data.baseline import difference as from_baseline
    from eqmm_ase.data.region_description import describe_regions
    from eqmm_ase.evaluation.caveats import caveats, refuse_unlabelled
    from eqmm_ase.evaluation.evaluate import evaluate as run
    from eqmm_ase.evaluation.evaluate import write_metrics
    from eqmm_ase.evaluation.reliability import reliability
    from eqmm_ase.network.model_file import load_model
    from eqmm_ase.progress_bar import ProgressBar
    from eqmm_ase.terminal import messages, say
    from eqmm_ase.training.data import read_files
    from eqmm_ase.uncertainty.calibration import Calibration

    network, card = load_model(model)
    frames, method, content_hash = read_files([data])
    refuse_unlabelled(frames, data)
    if "baseline" in card:
        frames = [from_baseline(frame) for frame in frames]
    console = messages()
    say(console, f"QM region: {describe_regions(frames)}")
    warnings = caveats(frames, method, card, data)
    for warning in warnings:
        say(console, f"warning: {warning}")
    with ProgressBar(
        "evaluating", "frames", len(frames), console=console, transient=True
    ) as progress:
        result = run(
            network,
            frames,
            card.get("charge_scheme"),
            batch_size=batch_size,
            device=device,
            on_frames=progress.advance,
        )
    show_metrics(result.metrics, f"{model} on {data}: {result.n_frames} frames")
    calibration = Calibration.from_dict(card.get("calibration", {}))
    reliable = reliability(result.deviations, calibration)
    show_reliability(reliable)
    click.echo(f"{1000 * result.seconds_per_frame:.1f} ms per frame")
    if output is not None:
        from eqmm_ase.evaluation.plots import plot_parity, plot_reliability

        output.mkdir(parents=True, exist_ok=True)
        facts: dict[str, Any] = {
            "model": str(model),
            "dataset": str(data),
            "dataset_hash": content_hash,
            "warnings": warnings,
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
    from eqmm_ase.evaluation.tables import metrics_table
    from eqmm_ase.terminal import show_table

    if metrics:
        show_table(metrics_table(metrics, title))


def show_reliability(found: Mapping[str, Any]) -> None:
    """Print how uncertainties relate to errors, or nothing for a single model."""
    from eqmm_ase.evaluation.tables import reliability_table
    from eqmm_ase.terminal import show_table

    if found:
        show_table(reliability_table(found, "uncertainty of the committee"))
