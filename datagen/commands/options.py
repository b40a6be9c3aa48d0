"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from datagen.errors import ExchangeError
from datagen.labels.devices import DEVICES
from datagen.solvent.media import solvent_names
from eqmm_ase.atomic_write import refuse_unwritable
from eqmm_ase.command_line import refuse_idle

SOLVENT_HELP = (
    f"One of {', '.join(solvent_names())}; or a mixture by mole fractions, as "
    "water:0.7,methanol:0.3."
)


def output_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-o/--output`, and `--overwrite`, without which an existing file is refused."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        overwrite = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
        output = click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(path_type=Path, dir_okay=False),
            help=help_text,
        )
        return output(overwrite(command))

    return decorate


def refuse_existing(output: Path, overwrite: bool) -> None:
    """Say at once what would go wrong at the end."""
    refuse_unwritable(output)
    if output.exists() and not overwrite:
        raise ExchangeError(f"{output} exists already; --overwrite replaces it")


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--workers` and `--platform` of molecular dynamics."""
    workers = click.option(
        "--workers", type=click.IntRange(min=1), help="Processes.  [default: all cores]"
    )
    platform = click.option("--platform", help="OpenMM platform.  [default: the fastest]")
    return workers(platform(command))


def open_valences_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--open-valences`."""
    option = click.option(
        "--open-valences",
        is_flag=True,
        help="Accept atoms that lack bonds (bare clusters, cut-outs of a solid), which otherwise "
        "are taken for missing hydrogens.",
    )
    return option(command)


def device_option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Where labels are computed, under the name that a command has for it."""
    return click.option(
        name,
        type=click.Choice(DEVICES),
        default="cpu",
        show_default=True,
        help="Where labels are computed; gpu is GPU4PySCF, with one process on each device of "
        "CUDA_VISIBLE_DEVICES, or on the first.",
    )


def refuse_workers_of_gpu(context: click.Context, name: str, device: str) -> None:
    """Refuse a number of processes where each device has one; `name` is that of `device_option`."""
    if device == "gpu":
        refuse_idle(context, ["workers"], f"{name} gpu, which has one process on each device")
