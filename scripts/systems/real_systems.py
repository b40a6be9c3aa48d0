"""Whole systems of many kinds, each of them run and checked.

    python -m scripts.systems.real_systems

For each system: a short run at constant temperature with the network and without, in turns; then,
in double precision at the last configuration, the ledger against the energy of the Context, the net
force, and the forces on all kinds of atoms against finite differences of the energy.

Models of acetate and of a side chain are made when they are needed, by commands that are printed;
what is finished is kept in a folder. A system that the output file has already is left out: the
same command goes on.
"""

from __future__ import annotations

import copy
import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import torch
from openmm import unit

from eqmm_ase.data.lattice import minimum_image
from eqmm_ase.engines.energy_ledger import energy_ledger
from eqmm_ase.engines.mixed_system import MixedSystem
from eqmm_ase.engines.openmm_context import (
    energy_and_forces,
    move_to,
    new_context,
    positions_of,
    real_particles,
)
from eqmm_ase.engines.openmm_force import callback_of, minimise
from eqmm_ase.engines.system_run import degrees_of_freedom
from eqmm_ase.models.pretrained import pretrained_file
from eqmm_ase.terminal import screen
from eqmm_ase.units import KCAL_PER_MOL
from scripts.common import RESULTS, TEST_DATA, argument_parser, peak_memory, write_results
from scripts.demonstration.demo_pipeline import Stage, run_stages
from scripts.systems import dipeptide
from scripts.systems.boxes import Box, make_box
from scripts.systems.cost import step_seconds

_ROUNDS = 10
_TIMESTEP = 1.0  # fs
_FRICTION = 10.0  # 1/ps: a relaxed box is warm after a fraction of a picosecond
_RELAXATION = 100  # iterations
_STEP = 5e-5  # Å, of finite differences
_NETWORK = 1  # force group


@dataclass(frozen=True)
class Case:
    """A system to be looked at."""

    box: Callable[[], Box]
    model: str
    steps: int


CASES: Mapping[str, Case] = {
    "methanol, TIP3P, 30 Å": Case(partial(make_box, "methanol", 30.0), "methanol", 2000),
    "Cl⁻ + CH3Cl, TIP3P, 30 Å": Case(partial(make_box, "sn2", 30.0), "sn2", 2000),
    "methanol, TIP3P, 67 Å": Case(partial(make_box, "methanol", 67.0), "methanol", 200),
    "Cl⁻ + CH3Cl, TIP3P, 67 Å": Case(partial(make_box, "sn2", 67.0), "sn2", 200),
    "methanol, TIP3P, 100 Å": Case(partial(make_box, "methanol", 100.0), "methanol", 100),
    "methanol, OPC": Case(partial(make_box, "methanol", 27.5, water="opc"), "methanol", 2000),
    "side chain of alanine dipeptide, ff14SB": Case(
        partial(dipeptide.dipeptide_box, 28.0), "side_chain", 2000
    ),
    "acetate and Na⁺, CHARMM36": Case(
        partial(make_box, "acetate", 30.0, water="charmm", neutralize=True), "acetate", 2000
    ),
    "Cl⁻ + CH3Cl, TIP3P, 100 Å": Case(partial(make_box, "sn2", 100.0), "sn2", 100),
}


def _labelled_and_trained(steps: int) -> tuple[Stage, ...]:
    label = "eqmm-datagen label frames.h5 -o labels.h5 --functional b3lyp --basis '6-31g*'"
    train = f"eqmm train labels.h5 -o model.eqmm training.max_steps={steps}"
    return (
        Stage("Label the frames", label, "labels.h5"),
        Stage("Train", train, "model.eqmm"),
    )


STAGES: Mapping[str, Sequence[Stage]] = {
    "acetate": (
        Stage(
            "Sample acetate in salt water",
            "eqmm-datagen sample 'CC(=O)[O-]' -o frames.h5 --salt NaCl:0.5 --frames 80 "
            "--interval 0.2",
            "frames.h5",
        ),
        *_labelled_and_trained(4000),
    ),
    "side_chain": (
        Stage(
            "Cut the methyl group of its side chain",
            "eqmm-datagen cut dipeptide.pdb sampling.dcd -o frames.h5 --system system.xml "
            "--medium water --qm 'resname ALA and name CB HB1 HB2 HB3'",
            "frames.h5",
        ),
        *_labelled_and_trained(2500),
    ),
}


def model_file(name: str, folder: Path) -> Path:
    """A model by its name, made in the folder where it does not come with EqMM."""
    ready = {"methanol": TEST_DATA / "methanol.eqmm", "sn2": pretrained_file("sn2-chloride-b3lyp")}
    if name in ready:
        return ready[name]
    place = (folder / name).resolve()
    place.mkdir(parents=True, exist_ok=True)
    if name == "side_chain" and not (place / "sampling.dcd").exists():
        dipeptide.main(["-o", str(place)])
    if run_stages(STAGES[name], place, screen()):
        raise SystemExit(f"the model of {name} could not be made; the message is above")
    return place / "model.eqmm"


def atoms_of_interest(
    mixed: MixedSystem, positions: np.ndarray, cell: np.ndarray
) -> dict[str, int]:
    """Rows of atoms of all kinds that there are, by kind."""
    region, system = mixed.region, mixed.system
    names = region.topology.residue_names
    of_water = np.array([names[r] == "HOH" for r in region.topology.residues])
    real = real_particles(system)
    water = real[of_water[real] & ~region.inside[real]]
    apart = minimum_image(positions[water] - positions[region.region.atoms].mean(0), cell)
    order = water[np.argsort(np.linalg.norm(apart, axis=1))]
    found = {"ML": int(region.region.atoms[0]), "near": int(order[0]), "far": int(order[-1])}
    for bond in region.region.bonds:
        found |= {"Q1": int(bond.q1), "M1": int(bond.m1), "M2": int(bond.m2[0])}
    sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
    if sites:
        parents = {system.getVirtualSite(i).getParticle(0) for i in sites}
        found["parent"] = next(int(i) for i in order if i in parents)
    ions = np.flatnonzero(~region.inside & (region.topology.atomic_numbers == 11))
    return found | {"ion": int(ions[0])} if len(ions) else found


def force_errors(
    context: openmm.Context, positions: np.ndarray, rows: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Forces along random directions against central differences, by kind of atom, eV/Å.

    Parameters
    ----------
    context
        In double precision, of a System whose network has the force group `_NETWORK`.
    positions
        (n, 3) Å, where it stands.
    rows
        Of the atoms, by kind.

    Returns
    -------
    dict
        For each kind the force, and by how much the slope of the energy differs from it: of the
        network alone, and of all terms.
    """
    forces = np.array([energy_and_forces(context, which)[1] for which in ({_NETWORK}, None)])
    callback, rng, found = callback_of(context.getSystem()), np.random.default_rng(0), {}
    for kind, row in rows.items():
        along = rng.normal(size=3)
        along /= np.linalg.norm(along)
        ends = []
        for sign in (1.0, -1.0):
            moved = positions.copy()
            moved[row] += sign * _STEP * along
            move_to(context, moved, None)
            total, _ = energy_and_forces(context)
            assert callback.latest is not None
            ends.append(np.array([callback.latest.energy, total]))
        slopes = (ends[0] - ends[1]) / (2.0 * _STEP)
        network, every = np.abs(slopes + forces[:, row] @ along)
        found[kind] = {
            "force": float(forces[1, row] @ along),
            "network": float(network),
            "all": float(every),
        }
    move_to(context, positions, None)
    return found


def checks(box: Box, model: Path, positions: np.ndarray) -> dict[str, Any]:
    """What must hold to rounding, in double precision: kcal/mol and eV/Å."""
    mixed = box.coupled(model, dtype="float64", group=_NETWORK)
    context = new_context(mixed.system, "Reference")
    move_to(context, positions, box.cell)
    positions = positions_of(context)[0]  # with virtual sites where they belong
    energy, forces = energy_and_forces(context)
    _, of_network = energy_and_forces(context, {_NETWORK})
    ledger = energy_ledger(mixed, positions, box.cell)
    rows = atoms_of_interest(mixed, positions, box.cell)
    real = real_particles(mixed.system)  # to which OpenMM has added the forces of virtual sites
    on_real, network_on_real = forces[real].sum(0), of_network[real].sum(0)
    return {
        "energy": energy / KCAL_PER_MOL,
        "ledger": {name: value / KCAL_PER_MOL for name, value in ledger.terms.items()},
        "ledger_error": abs(ledger.total - energy) / KCAL_PER_MOL,
        "net_force_network": float(np.abs(network_on_real).max()),
        "net_force_rest": float(np.abs(on_real - network_on_real).max()),
        "forces": force_errors(context, positions, rows),
    }


def short_run(mixed: MixedSystem, box: Box, steps: int) -> tuple[dict[str, float], np.ndarray]:
    """The system with its network and without, in turns.

    All else relaxes classically around the ML region first, which is held, and then everything with
    the network: in water that knows nothing of the charge an ion may react before it is solvated,
    and a classical search that is far from its end leaves shapes that no model knows.

    Returns
    -------
    figures, positions
        Temperatures are means over the second half, forces the largest on any atom. CPU ms a step
        are medians over rounds without the first, in which the network is not traced yet.
    """
    held = copy.deepcopy(box.system)
    for row in box.ml_atoms:
        held.setParticleMass(row, 0.0)
    networked, classical, around = map(_running, (mixed.system, box.system, held))
    move_to(around, box.positions, box.cell)
    openmm.LocalEnergyMinimizer.minimize(around, maxIterations=_RELAXATION)
    for context in (networked, classical):
        move_to(context, *positions_of(around))
    minimise(networked)
    for context in (networked, classical):
        context.setVelocitiesToTemperature(300.0 * unit.kelvin, 1)
    rows = []
    for _ in range(_ROUNDS):
        seconds = [step_seconds(context, steps // _ROUNDS) for context in (classical, networked)]
        kelvin = [temperature(context) for context in (classical, networked)]
        rows.append([*seconds, *kelvin, largest_force(networked)])
    plain, with_network, cool, warm, forces = np.array(rows).T
    figures = {
        "ps": steps * _TIMESTEP / 1000.0,
        "temperature": float(warm[_ROUNDS // 2 :].mean()),
        "temperature_classical": float(cool[_ROUNDS // 2 :].mean()),
        "largest_force": float(forces.max()),
        "ms": 1000.0 * float(np.median(with_network[1:])),
        "ms_classical": 1000.0 * float(np.median(plain[1:])),
        "ratio": float(np.median(with_network[1:] / plain[1:])),
    }
    return figures, positions_of(networked)[0]


def _running(system: openmm.System) -> openmm.Context:
    integrator = openmm.LangevinMiddleIntegrator(
        300.0 * unit.kelvin, _FRICTION / unit.picosecond, _TIMESTEP * unit.femtosecond
    )
    integrator.setRandomNumberSeed(1)
    return new_context(system, "CPU", 1, integrator)


def temperature(context: openmm.Context) -> float:
    """K, of the velocities that a Context has now."""
    kinetic = context.getState(energy=True).getKineticEnergy()
    freedom = degrees_of_freedom(context.getSystem())
    return float(2.0 * kinetic / (freedom * unit.MOLAR_GAS_CONSTANT_R) / unit.kelvin)


def largest_force(context: openmm.Context) -> float:
    """eV/Å, on any atom, with the shares of its virtual sites."""
    forces = energy_and_forces(context)[1][real_particles(context.getSystem())]
    return float(np.linalg.norm(forces, axis=1).max())


def look_at(name: str, model: Path) -> dict[str, Any]:
    """All figures of a system."""
    torch.set_num_threads(1)
    case = CASES[name]
    box = case.box()
    mixed = box.coupled(model)
    figures, positions = short_run(mixed, box, case.steps)
    megabytes = peak_memory()
    return {
        "system": name,
        "atoms": len(box.positions),
        "ml_atoms": len(box.ml_atoms),
        "members": mixed.potential.n_members,
        "net_charge": float(mixed.region.mm_charges.sum() + box.total_charge),
        "memory_MB": round(megabytes),
        **figures,
        **checks(box, model, positions),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not done yet, and write."""
    parser = argument_parser(__doc__, "JSON file to write", RESULTS / "system_real.json")
    parser.add_argument("--folder", type=Path, default=Path("build/real_systems"), help="of models")
    chosen = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    if chosen.output.exists():
        rows = json.loads(chosen.output.read_text(encoding="utf-8"))["systems"]
    for name, case in CASES.items():
        if name in {row["system"] for row in rows}:
            continue
        model = model_file(case.model, chosen.folder)
        # A process each: memory is counted by process.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(look_at, name, model).result())
        print(json.dumps(rows[-1], ensure_ascii=False, indent=1), flush=True)
        rows.sort(key=lambda row: list(CASES).index(row["system"]))
        content = {"what": "whole systems run and checked, one thread", "systems": rows}
        write_results(chosen.output, content, ("eqmm", "torch", "openmm", "finufft"))


if __name__ == "__main__":
    main()
