"""``eqmm-datagen label``: from frames to a dataset with reference labels."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.campaigns.campaign import label_frames
from datagen.commands.campaign_output import ShownProgress, show_summary
from datagen.errors import CampaignError
from datagen.labels.charges import SCHEMES
from datagen.labels.method import Method
from datagen.processes.executors import cores
from datagen.processes.guarded_process import Limits
from eqmm_ase.command_line import refuse_idle
from eqmm_ase.data.region_description import describe_regions
from eqmm_ase.files.dataset_file import read_frames

_DEFAULT = Method()


@click.command(context_settings={"show_default": True})
@click.argument("frames", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Dataset file to write.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace an output that this campaign did not make."
)
@click.option(
    "--functional",
    default=_DEFAULT.functional,
    help="As PySCF spells it, or `hf` for Hartree–Fock.",
)
@click.option("--basis", default=_DEFAULT.basis, help="Basis set.")
@click.option("--dispersion", help="d3bj, d3zero, d4 …  [default: none]")
@click.option(
    "--density-fit/--no-density-fit",
    default=_DEFAULT.density_fit,
    help="Fit Coulomb and exchange integrals.",
)
@click.option("--grid-level", default=_DEFAULT.grid_level, help="Integration grid, 0 to 9.")
@click.option("--conv-tol", default=_DEFAULT.conv_tol, help="Energy threshold, Hartree.")
@click.option("--conv-tol-grad", default=_DEFAULT.conv_tol_grad, help="Gradient threshold.")
@click.option("--max-cycle", default=_DEFAULT.max_cycle, help="SCF cycles at each fallback stage.")
@click.option(
    "--charges",
    default=",".join(_DEFAULT.charges),
    help=f"Charge schemes, separated by commas, of {', '.join(SCHEMES)}.",
)
@click.option(
    "--vacuum-energy", is_flag=True, help="Also the energy of the same geometry without charges."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes, one thread each.  [default: all cores]",
)
@click.option("--timeout", type=float, help="Longest time for a frame, s.  [default: none]")
@click.option("--memory-limit", type=float, help="Largest memory of a worker, GB.  [default: none]")
@click.option(
    "--campaign",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps finished frames.  [default: OUTPUT.campaign]",
)
@click.option("--retry-failed", is_flag=True, help="Compute frames that failed before once more.")
@click.pass_context
def label(
    context: click.Context,
    frames: Path,
    output: Path,
    overwrite: bool,
    functional: str,
    basis: str,
    dispersion: str | None,
    density_fit: bool,
    grid_level: int,
    conv_tol: float,
    conv_tol_grad: float,
    max_cycle: int,
    charges: str,
    vacuum_energy: bool,
    workers: int | None,
    timeout: float | None,
    memory_limit: float | None,
    campaign: Path | None,
    retry_failed: bool,
) -> int:
    """Compute the labels of FRAMES, an eqmm-dataset file, with PySCF in electrostatic embedding.

    Energy, forces on QM atoms and MM sites, the QM potential at the MM sites, atomic charges, and
    the dipole. Finished frames are kept in the campaign folder: an interrupted run
    goes on when the same command is given again. A frame that fails is left out of the output,
    with its reason in the table; exit code 1 says that there was one.
    """
    method = Method(
        functional=functional,
        basis=basis,
        dispersion=dispersion,
        density_fit=density_fit,
        grid_level=grid_level,
        conv_tol=conv_tol,
        conv_tol_grad=conv_tol_grad,
        max_cycle=max_cycle,
        charges=tuple(charges.split(",")),
        vacuum_energy=vacuum_energy,
    )
    if not method.is_dft:
        refuse_idle(context, ["grid_level"], f"--functional {functional}, which needs no grid")
    limits = Limits(timeout=timeout, memory=memory_limit)
    folder = campaign or output.with_name(output.name + ".campaign")
    _check_output(output, frames, folder, overwrite)
    regions = read_frames(frames)
    click.echo(f"QM region: {describe_regions(regions)}", err=True)
    with ShownProgress() as shown:
        summary = label_frames(
            regions,
            method,
            folder,
            workers=workers or cores(),
            limits=limits,
            output=output,
            retry_failed=retry_failed,
            on_progress=shown.update,
        )
    show_summary(summary, str(output) if summary.done else "no labels", folder)
    return 0 if summary.done == summary.total else 1


def _check_output(output: Path, frames: Path, folder: Path, overwrite: bool) -> None:
    """Say at once what would go wrong at the end."""
    if not output.parent.is_dir():
        raise CampaignError(f"the folder {output.parent} does not exist")
    if output.resolve() == frames.resolve():
        raise CampaignError(f"{output} is the input; give the labels another name")
    if output.exists() and not folder.is_dir() and not overwrite:
        raise CampaignError(f"{output} exists already; --overwrite replaces it")
