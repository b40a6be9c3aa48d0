"""``eqmm-datagen label``: from frames to a dataset with reference labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datagen.campaigns.campaign import label_frames
from datagen.commands.campaign_output import ShownProgress, show_summary
from datagen.commands.options import device_option, refuse_workers_of_gpu
from datagen.errors import CampaignError
from datagen.labels.charges import SCHEMES
from datagen.labels.method import Method
from datagen.processes.executors import cores
from datagen.processes.guarded_process import Limits
from eqmm_ase.command_line import refuse_idle
from eqmm_ase.data.region_description import describe_regions
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.setting_options import setting_options, settings_from


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
@setting_options(
    Method, texts={"charges": f"Charge schemes, separated by commas, of {', '.join(SCHEMES)}."}
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes, one thread each.  [default: all cores]",
)
@device_option("--device")
@setting_options(Limits, names={"memory": "--memory-limit"})
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
    workers: int | None,
    device: str,
    campaign: Path | None,
    retry_failed: bool,
    **options: Any,
) -> int:
    """Compute the labels of FRAMES, an eqmm-dataset file, with PySCF in electrostatic embedding.

    Energy, forces on QM atoms and MM sites, the QM potential at the MM sites, atomic charges, and
    the dipole. Finished frames are kept in the campaign folder: an interrupted run
    goes on when the same command is given again. A frame that fails is left out of the output,
    with its reason in the table; exit code 1 says that there was one.
    """
    method, limits = settings_from(Method, options), settings_from(Limits, options)
    if not method.is_dft:
        without = f"--functional {method.functional}, which needs no grid"
        refuse_idle(context, ["grid_level"], without)
    refuse_workers_of_gpu(context, "--device", device)
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
            device=device,
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
