"""EqMM: machine-learned QM/MM potentials from an equivariant multiscale model.

=====================  ==========================================================================
EqMM                   ASE calculator of a QM region in the potential of MM point charges
DeltaEqMM              ASE calculator: a cheaper QM method plus a model of the difference from it
WholeSystem            ASE calculator of an ML region with all of its classical surroundings
RelaxedSurroundings    ASE calculator of an ML region, surroundings relaxed at every step
mixed_system           OpenMM System with a model in the place of an ML region
energy_ledger          energy of a whole system by its terms
RegionReporter         OpenMM reporter of energy, uncertainty and charges of an ML region
HeldLennardJones       ASE calculator: Lennard-Jones energy of atoms with fixed MM sites
ContactRestraints      ASE constraint: repulsive restraints that keep QM atoms from MM charges
Frame                  one QM region in its MM point charges, with reference labels
read_frames            the frames of a dataset file
write_frames           write a dataset file
ReferenceData          an open dataset file, read frame by frame
read_structure         QM atoms and the charges around them, from any file
atoms_of_frame         the QM atoms of a frame as `ase.Atoms`
project_forces         forces of a frame with link atoms, on real atoms only
forces_on_topology     forces of a frame, on all atoms of the topology it was cut from
train                  train a model or a committee on dataset files
TrainConfig            settings of a training
load_config            settings of a training from a YAML file and ``section.key=value``
evaluate               errors of a model on labelled frames, by medium
FrameBatch             a batch of frames as tensors: what a network sees
load_model             the network of a model file
save_model             write a model file
ContactError           raised where an atom is too near a charge or another atom
DomainError            raised for a total charge or spin that is not in the training data
DomainWarning          warned of systems unlike those in the training data
units                  conversion factors to eV, Å and e
=====================  ==========================================================================

Names are imported on first use: ``import eqmm_ase`` takes no time, and importing the calculator
does not import the training code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eqmm_ase import units
from eqmm_ase.concurrency import survive_forks
from eqmm_ase.public_names import on_first_use

if TYPE_CHECKING:
    from eqmm_ase.calculator.delta import DeltaEqMM
    from eqmm_ase.calculator.eqmm import EqMM
    from eqmm_ase.data.atom_map import forces_on_topology
    from eqmm_ase.data.boundary_forces import project_forces
    from eqmm_ase.data.frame import Frame
    from eqmm_ase.engines.energy_ledger import energy_ledger
    from eqmm_ase.engines.mixed_system import mixed_system
    from eqmm_ase.engines.output.region_reporter import RegionReporter
    from eqmm_ase.engines.whole_system import RelaxedSurroundings, WholeSystem
    from eqmm_ase.evaluation.evaluate import evaluate
    from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
    from eqmm_ase.files.structures import atoms_of_frame, read_structure
    from eqmm_ase.network.batch import FrameBatch
    from eqmm_ase.network.model_file import load_model, save_model
    from eqmm_ase.simulation.lennard_jones import HeldLennardJones
    from eqmm_ase.simulation.restraints import ContactRestraints
    from eqmm_ase.training.config import TrainConfig, load_config
    from eqmm_ase.training.train import train
    from eqmm_ase.uncertainty.contacts import ContactError
    from eqmm_ase.uncertainty.domain import DomainError, DomainWarning

_HOME = {
    "ContactError": "eqmm_ase.uncertainty.contacts",
    "ContactRestraints": "eqmm_ase.simulation.restraints",
    "DeltaEqMM": "eqmm_ase.calculator.delta",
    "DomainError": "eqmm_ase.uncertainty.domain",
    "DomainWarning": "eqmm_ase.uncertainty.domain",
    "EqMM": "eqmm_ase.calculator.eqmm",
    "Frame": "eqmm_ase.data.frame",
    "FrameBatch": "eqmm_ase.network.batch",
    "RegionReporter": "eqmm_ase.engines.output.region_reporter",
    "RelaxedSurroundings": "eqmm_ase.engines.whole_system",
    "WholeSystem": "eqmm_ase.engines.whole_system",
    "energy_ledger": "eqmm_ase.engines.energy_ledger",
    "mixed_system": "eqmm_ase.engines.mixed_system",
    "HeldLennardJones": "eqmm_ase.simulation.lennard_jones",
    "ReferenceData": "eqmm_ase.files.dataset_file",
    "TrainConfig": "eqmm_ase.training.config",
    "atoms_of_frame": "eqmm_ase.files.structures",
    "evaluate": "eqmm_ase.evaluation.evaluate",
    "forces_on_topology": "eqmm_ase.data.atom_map",
    "load_config": "eqmm_ase.training.config",
    "load_model": "eqmm_ase.network.model_file",
    "project_forces": "eqmm_ase.data.boundary_forces",
    "read_frames": "eqmm_ase.files.dataset_file",
    "read_structure": "eqmm_ase.files.structures",
    "save_model": "eqmm_ase.network.model_file",
    "train": "eqmm_ase.training.train",
    "write_frames": "eqmm_ase.files.dataset_file",
}

__all__ = [
    "ContactError",
    "ContactRestraints",
    "DeltaEqMM",
    "DomainError",
    "DomainWarning",
    "EqMM",
    "Frame",
    "FrameBatch",
    "HeldLennardJones",
    "ReferenceData",
    "RegionReporter",
    "RelaxedSurroundings",
    "TrainConfig",
    "WholeSystem",
    "atoms_of_frame",
    "energy_ledger",
    "evaluate",
    "forces_on_topology",
    "load_config",
    "load_model",
    "mixed_system",
    "project_forces",
    "read_frames",
    "read_structure",
    "save_model",
    "train",
    "units",
    "write_frames",
]

survive_forks()
__getattr__, __dir__ = on_first_use(__name__, _HOME)
