"""``eqmm-datagen cut``: from a user's own simulation to frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from datagen.commands.options import output_option, refuse_existing
from datagen.datasets.statistics import FrameStatistics, frame_statistics
from eqmm_ase.cutting.cluster import RECOMMENDED_RADIUS, rounded_down
from eqmm_ase.cutting.missing_hydrogens import check_hydrogens
from eqmm_ase.cutting.qm_region import SelectedRegion, find_region
from eqmm_ase.cutting.snapshots import SMALLEST_RADIUS, CutError, CutSettings, SnapshotCutter
from eqmm_ase.cutting.trajectories import (
    WITHOUT_BOX,
    Snapshot,
    Tally,
    read_slice,
    read_snapshots,
    select_atoms,
)
from eqmm_ase.data.atom_map import topology_name
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.region_description import describe_region
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.setting_options import setting_options, settings_from
from eqmm_ase.topology import Topology, read_topology


@click.command(context_settings={"show_default": True})
@click.argument("topology", type=click.Path(path_type=Path))
@click.argument("trajectories", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option("Dataset file to write.")
@click.option(
    "--qm",
    "selection",
    required=True,
    help="QM region in MDAnalysis' selection language, such as "
    "'resname SER and name CB HB2 HB3 OG HG'; distances are those in the first frame.",
)
@click.option("--system", type=click.Path(path_type=Path), help="OpenMM System, beside a PDB.")
@click.option(
    "--frames",
    default="::",
    help="START:STOP:STEP in each trajectory, or one number; from 0, as the file counts them.",
)
@click.option(
    "--radius",
    type=float,
    help="Whole residues with an atom this near to a QM atom are kept, Å; at most half of the "
    f"shortest repeat of the box.  [default: {RECOMMENDED_RADIUS:g}, or less where the box is "
    "small]",
)
@setting_options(
    CutSettings,
    names={
        "cap_rule": "--cap",
        "redistribution": "--boundary-charges",
        "total_charge": "--charge",
        "spin_multiplicity": "--multiplicity",
    },
    without=("radius",),
)
def cut(
    topology: Path,
    trajectories: tuple[Path, ...],
    output: Path,
    overwrite: bool,
    selection: str,
    system: Path | None,
    frames: str,
    radius: float | None,
    **options: Any,
) -> None:
    r"""Cut frames out of TRAJECTORIES of a simulation with this TOPOLOGY.

    TOPOLOGY is an AMBER prmtop, a GROMACS top or tpr, a CHARMM psf, or a PDB with --system.
    TRAJECTORIES are what MDAnalysis reads (nc, xtc, trr, dcd, gro, pdb …) and AMBER restart files.
    A frame is the QM region and the charges of all whole residues around it, without labels;
    `eqmm-datagen label` computes those. Bonds between the QM region and the rest are capped with
    hydrogen.

    Molecules may be wrapped into the box in any way. The parts of the QM region are brought
    together, and every residue is taken once, in the image that is nearest to a QM atom. Frames
    that hold no positions or no box, or are damaged, are left out and counted.
    """
    refuse_existing(output, overwrite)
    wanted = RECOMMENDED_RADIUS if radius is None else radius
    settings = settings_from(CutSettings, options, radius=wanted)
    which = read_slice(frames)
    sites = read_topology(topology, system)
    first = next(read_snapshots(trajectories[0], sites.n_sites, which))
    cell = None if settings.isolated else first.cell
    region = find_region(sites, select_atoms(sites, selection, first.positions, cell))
    check_hydrogens(sites, region, first.positions, cell)
    cutter = SnapshotCutter(sites, region, settings, topology_name(topology))
    for line in _about(sites, region, cutter):
        click.echo(line, err=True)
    if radius is None:
        cutter = _fitted(cutter, trajectories, which)
    if cutter.settings.radius < RECOMMENDED_RADIUS:
        click.echo(
            f"note: clusters of {cutter.settings.radius:g} Å miss some of the surroundings; "
            f"{RECOMMENDED_RADIUS:g} Å or more are recommended",
            err=True,
        )
    result, left_out = _cut_all(cutter, trajectories, which)
    click.echo(f"QM region: {describe_region(result[0])}", err=True)  # the others have the same
    if np.isfinite(cutter.complete_to):
        click.echo(
            f"note: the frames are complete up to {rounded_down(cutter.complete_to):g} Å from the "
            "QM region; farther out are residues that come near it twice in this box, of which "
            "only the nearer image is taken",
            err=True,
        )
    statistics = frame_statistics(result)
    description = _description(topology, selection, frames, cutter, statistics)
    write_frames(output, result, {"cut": description | {"frames_left_out": left_out}})
    click.echo(f"{output}: {statistics.sentence()}")


def _snapshots(
    cutter: SnapshotCutter, path: Path, which: slice, tally: Tally
) -> Iterator[Snapshot]:
    """Frames that can be cut: with positions, and with a box where one is needed."""
    for snapshot in read_snapshots(path, cutter.topology.n_sites, which, tally):
        if snapshot.cell is None and not cutter.settings.isolated:
            tally.leave_out(WITHOUT_BOX)
        else:
            yield snapshot


def _fitted(cutter: SnapshotCutter, trajectories: Sequence[Path], which: slice) -> SnapshotCutter:
    """The cutter with its radius, or the largest that fits all frames where that is smaller."""
    wanted, fits = cutter.settings.radius, np.inf
    for path in trajectories:
        for snapshot in _snapshots(cutter, path, which, Tally(path)):
            fits = min(fits, cutter.largest_radius(snapshot))
    if fits >= wanted:
        return cutter
    if fits < SMALLEST_RADIUS:
        raise CutError(
            "the largest radius that fits the box around this QM region is "
            f"{rounded_down(fits):g} Å, and less than {SMALLEST_RADIUS:g} Å make no cluster; "
            "select fewer atoms"
        )
    click.echo(
        f"note: the largest radius that fits the box is {rounded_down(fits):g} Å, taken instead of "
        f"{wanted:g} Å",
        err=True,
    )
    return cutter.within(fits)


def _cut_all(
    cutter: SnapshotCutter, trajectories: Sequence[Path], which: slice
) -> tuple[list[Frame], dict[str, dict[str, int]]]:
    """Frames of all trajectories, and what was left out of which and why."""
    result: list[Frame] = []
    left_out: dict[str, dict[str, int]] = {}
    notes: list[str] = []
    with ProgressBar("cutting", "frames") as bar:  # nobody knows how many there are
        for path, source in zip(trajectories, _sources(trajectories), strict=True):
            tally = Tally(path)
            for snapshot in _snapshots(cutter, path, which, tally):
                result.append(cutter(snapshot, source))
                bar.advance()
            if tally.left_out:
                notes.append(tally.note())
                left_out[source] = dict(tally.left_out)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    different = len({frame.frame_id for frame in result})
    if different < len(result):
        click.echo(
            f"note: only {different} of {len(result)} frames are different; `eqmm-datagen merge` "
            "leaves doubles out",
            err=True,
        )
    return result, left_out


def _about(topology: Topology, region: SelectedRegion, cutter: SnapshotCutter) -> list[str]:
    """What the user should look at before the labels are computed."""
    given = cutter.settings.total_charge is not None
    lines = [f"note: {note}" for note in topology.notes]
    lines += [
        f"QM region: {len(region.atoms)} atoms, total charge {cutter.total_charge:+d}"
        f"{' as given' if given else ''}, where the force field has "
        f"{region.force_field_charge:+.4f} e"
    ]
    for bond in region.bonds:
        ends = f"{topology.label(bond.q1)}–{topology.label(bond.m1)}"
        lines.append(
            f"cut bond: {ends}; hydrogen cap ({cutter.settings.cap_rule}), the "
            f"{topology.charges[bond.m1]:+.4f} e of {topology.label(bond.m1)} treated by "
            f"{cutter.settings.redistribution!r}"
        )
        numbers = topology.atomic_numbers[[bond.q1, bond.m1]].tolist()
        if numbers != [6, 6]:
            lines.append(f"note: {ends} is no C–C bond; caps are best on unpolar single bonds")
    return lines


def _sources(trajectories: Sequence[Path]) -> list[str]:
    """Names of trajectories: the files' own, or whole paths where those are the same."""
    stems = [path.stem for path in trajectories]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in trajectories]


def _description(
    topology: Path,
    selection: str,
    frames: str,
    cutter: SnapshotCutter,
    statistics: FrameStatistics,
) -> dict[str, Any]:
    """Everything that the frames depend on besides the trajectories, as plain JSON values."""
    settings = cutter.settings
    return {
        "topology": topology.name,
        "topology_sha256": hashlib.sha256(topology.read_bytes()).hexdigest(),
        "selection": selection,
        "qm_atoms": np.asarray(cutter.region.atoms).tolist(),
        "frames": frames,
        "radius": settings.radius,
        "complete_to": cutter.complete_to if np.isfinite(cutter.complete_to) else None,
        "switch_from": settings.switch_from,
        "cut_bonds": len(cutter.region.bonds),
        "force_field_charge_of_qm_region": cutter.region.force_field_charge,
        "net_mm_charge": statistics.net_mm_charge,
        "closest_contact": statistics.closest_contact if statistics.n_mm[1] else None,
        "versions": {name: version(name) for name in ("MDAnalysis", "ParmEd")},
    }
