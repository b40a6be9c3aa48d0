"""EqMM: machine-learned QM/MM potentials from an equivariant multiscale model.

Names are imported on first use, so that ``import eqmm_ase`` costs nothing and the calculator never
pays for the trainer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eqmm_ase.concurrency import survive_forks

if TYPE_CHECKING:
    from eqmm_ase.calculator.eqmm import EqMM
    from eqmm_ase.data.atom_map import forces_on_topology
    from eqmm_ase.data.boundary_forces import project_forces
    from eqmm_ase.data.frame import Frame
    from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
    from eqmm_ase.files.structures import read_structure
    from eqmm_ase.network.batch import Frames
    from eqmm_ase.network.model_file import load_model, save_model
    from eqmm_ase.simulation.restraints import ContactRestraints
    from eqmm_ase.uncertainty.contacts import ContactError

_HOME = {
    "ContactError": "eqmm_ase.uncertainty.contacts",
    "ContactRestraints": "eqmm_ase.simulation.restraints",
    "EqMM": "eqmm_ase.calculator.eqmm",
    "Frame": "eqmm_ase.data.frame",
    "Frames": "eqmm_ase.network.batch",
    "forces_on_topology": "eqmm_ase.data.atom_map",
    "project_forces": "eqmm_ase.data.boundary_forces",
    "ReferenceData": "eqmm_ase.files.dataset_file",
    "read_frames": "eqmm_ase.files.dataset_file",
    "write_frames": "eqmm_ase.files.dataset_file",
    "read_structure": "eqmm_ase.files.structures",
    "load_model": "eqmm_ase.network.model_file",
    "save_model": "eqmm_ase.network.model_file",
}

__all__ = [
    "ContactError",
    "ContactRestraints",
    "EqMM",
    "Frame",
    "Frames",
    "ReferenceData",
    "forces_on_topology",
    "load_model",
    "project_forces",
    "read_frames",
    "read_structure",
    "save_model",
    "write_frames",
]

survive_forks()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("eqmm")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'eqmm_ase' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
