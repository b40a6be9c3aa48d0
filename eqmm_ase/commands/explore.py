"""`eqmm explore`: find structures that a committee does not know."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eqmm_ase.setting_options import setting_options, settings_from
from eqmm_ase.simulation.exploration_settings import ExplorationSettings

exploration_options = setting_options(
    ExplorationSettings, names={"sweep": "--range"}, without=("seed",)
)
"""Also those of ``eqmm-datagen learn``, which has a seed of its own."""


@click.command("explore", context_settings={"show_default": True})
@click.argument("committee", type=click.Path(path_type=Path))
@click.argument("starts", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Dataset file for the frames, without labels.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@exploration_options
@click.option("--seed", default=0, help="Equal seeds give equal frames.")
def explore(committee: Path, starts: Path, output: Path, overwrite: bool, **options: Any) -> int:
    """Run dynamics with COMMITTEE from the frames STARTS; keep frames where its members disagree.

    The QM atoms move in the fixed charges of the frame that they start from, and a trajectory ends
    where the calibrated uncertainty of the energy or of a force exceeds its limit. Invalid
    geometries (collapsed, flown apart) and near-duplicates of known frames are left out. OUTPUT is
    ready for `eqmm-datagen label`. Exit code 1 says that no frame was found.
    """
    from eqmm_ase.atomic_write import refuse_unwritable
    from eqmm_ase.calculator.eqmm import EqMM
    from eqmm_ase.data.region_description import describe_regions
    from eqmm_ase.files.dataset_file import read_frames, write_frames
    from eqmm_ase.simulation.exploration import explore as run
    from eqmm_ase.simulation.exploration import trajectories_bar
    from eqmm_ase.simulation.relax import refuse_existing

    settings = settings_from(ExplorationSettings, options)
    refuse_unwritable(output)
    if not overwrite:
        refuse_existing(output, "--overwrite replaces it")
    counts, frames = Counter[str](), []
    known = read_frames(starts)
    click.echo(f"QM region: {describe_regions(known)}", err=True)
    with trajectories_bar(settings) as bar:
        for visit in run(EqMM(committee), known, settings):
            counts[visit.outcome] += 1
            if visit.frame is not None:
                frames.append(visit.frame)
            bar.advance()
            bar.say(f"{visit.line(settings)}{bar.spoken_left()}")
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    if not frames:
        click.echo(f"no frame was found in {counts.total()} trajectories ({told})")
        return 1
    write_frames(output, frames, {"exploration": {"model": committee.name, **asdict(settings)}})
    click.echo(f"{output}: {len(frames)} frames of {counts.total()} trajectories ({told})")
    return 0
