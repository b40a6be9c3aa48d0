"""Energy of an ML region in the whole of its surroundings, and forces on all sites of the system.

    E = E_network(R_A; potential of B) + E_images(A)

One function of all positions and the box, without any engine: Å, eV, e.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch

from eqmm_ase.arrays import FloatArray
from eqmm_ase.calculator.domain_warnings import DomainWarnings
from eqmm_ase.calculator.settings import DTYPES
from eqmm_ase.data.checks import squared_distances
from eqmm_ase.data.frame import Frame
from eqmm_ase.engines.embedded_region import Configuration, EmbeddedRegion
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee, Spread, mean_and_spread, members_of
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import cast, load_model
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.network.traced import TracedModels
from eqmm_ase.periodic.contacts import deepest_contact_in_box
from eqmm_ase.periodic.ewald import Ewald
from eqmm_ase.periodic.prediction import SurroundedModels
from eqmm_ase.periodic.region_in_box import RegionInBox
from eqmm_ase.periodic.switched import INNER, OUTER, SwitchedCutoff
from eqmm_ase.uncertainty.calibration import Calibration, Uncertainty
from eqmm_ase.uncertainty.contacts import ContactError, collapsed, deepest_contact
from eqmm_ase.uncertainty.domain import Domain

Electrostatics = Literal["ewald", "cutoff", "all"]
"""How far charges act: in all periodic images, within a switched cutoff, or all of them once."""


class SystemPotentialError(RuntimeError):
    """The energy of a configuration is no number; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class SystemEnergy:
    """What the ML region adds to the energy of a system."""

    energy: float
    """eV, `image_energy` included."""

    image_energy: float
    """eV, of the region with its own periodic images."""

    forces: FloatArray  # (n_sites, 3) eV/Å
    charges: FloatArray  # (n_qm,) e, caps last
    mm_potential: FloatArray
    """dE/dq of every MM charge, (n_mm,) V, in the order of `EmbeddedRegion.mm_charges`."""

    uncertainty: Uncertainty | None
    """Of a committee: expected errors of energy and forces; None for a single model."""


class SystemPotential:
    """Network, ML region and surroundings as one potential of all positions.

    Parameters
    ----------
    model
        A model file, or a model or committee, which is copied.
    region
        The ML region in its system.
    electrostatics
        ``ewald``: all charges of a periodic box and their images, needs finufft; ``cutoff``: whole
        residues, switched off between the two radii of `switch`; ``all``: all charges once, for
        systems without a box.
    switch
        Å, where a cutoff begins and ends.
    dtype
        ``float32``, or ``float64`` for tests of conservation and finite differences.
    card
        Of a model that is loaded already; None: that of the file, or none.

    Raises
    ------
    ModelFileError, FileNotFoundError
        When the file is not a model.
    DomainError, UnknownElementError
        When the model does not know elements, charge or spin of the region.
    ImportError
        When Ewald's sum is asked for and finufft is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | MultiscaleModel | Committee,
        region: EmbeddedRegion,
        *,
        electrostatics: Electrostatics = "ewald",
        switch: tuple[float, float] = (INNER, OUTER),
        dtype: str = "float32",
        card: Mapping[str, Any] | None = None,
    ) -> None:
        if electrostatics not in get_args(Electrostatics):
            raise ValueError(
                f"electrostatics is {electrostatics!r}; expected one of "
                f"{', '.join(get_args(Electrostatics))}"
            )
        self.region, self.electrostatics = region, electrostatics
        source, self.card = opened(model) if card is None else (model, dict(card))
        if not isinstance(source, MultiscaleModel | Committee):
            raise TypeError("a card goes with a model that is loaded already")
        source = copy.deepcopy(source)
        self._dtype = DTYPES[dtype]
        source = cast(source.cpu().eval(), self._dtype).requires_grad_(False)
        self._members = members_of(source)
        self._members[0].elements(torch.as_tensor(region.atomic_numbers))
        self.calibration = Calibration.from_dict(self.card.get("calibration", {}))
        domain = Domain.from_dict(self.card.get("domain", {}))
        self._watch = DomainWarnings(domain, self.calibration)
        domain.refuse_state(region.atomic_numbers, region.total_charge, region.spin_multiplicity)
        self._models = self._surrounded(switch)
        self._in_box = RegionInBox(
            region.molecules, switch[1] if electrostatics == "cutoff" else None
        )

    @property
    def n_members(self) -> int:
        """Models whose mean the answers are."""
        return len(self._members)

    def __call__(self, positions: FloatArray, cell: FloatArray | None) -> SystemEnergy:
        """Energy of the region in its surroundings, and forces on all sites.

        Parameters
        ----------
        positions
            (n_sites, 3) Å, wrapped in any way.
        cell
            Lattice vectors as rows, (3, 3) Å; None without a box.

        Raises
        ------
        BoxTooSmallError, ImagesTooNearError, ContactError, ValueError
            When the box or the positions make no sense.
        SystemPotentialError
            When the energy is not a finite number.
        """
        region = self.region
        if not np.isfinite(positions.sum()):
            raise SystemPotentialError(
                "positions of the system are not numbers any more: it has blown up; start from a "
                "relaxed structure, with a shorter time step"
            )
        now = region.configuration(positions, cell)
        if cell is not None:
            self._in_box.check(now.qm_positions[: len(region.molecules)], cell)
        self._watch.region(
            region.atomic_numbers, now.qm_positions, region.total_charge, region.spin_multiplicity
        )
        self._refuse_collapse(now)
        prediction, spread, image_energy = self._predict(now, cell)
        uncertainty = None
        if len(self._members) > 1:
            uncertainty = self.calibration.uncertainty(
                float(spread.energy[0]), _array(spread.qm_forces)
            )
        forces = region.site_forces(now, _array(prediction.qm_forces), _array(prediction.mm_forces))
        energy = float(prediction.energy[0])
        if not np.isfinite(energy + forces.sum()):
            raise SystemPotentialError(
                f"the model's energy ({energy}) or forces are not finite: "
                + (self._watch.strange or "the ML region is unlike anything it was trained on")
            )
        return SystemEnergy(
            energy=energy,
            image_energy=image_energy,
            forces=forces,
            charges=_array(prediction.charges),
            mm_potential=_array(prediction.mm_potential),
            uncertainty=uncertainty,
        )

    def too_close(self, positions: FloatArray, cell: FloatArray | None) -> bool:
        """Whether a charge is much closer to the region than any in training, as for `EqMM`."""
        now, numbers = self.region.configuration(positions, cell), self.region.atomic_numbers
        atoms, sites, charges = now.qm_positions, now.mm_positions, self.region.mm_charges
        domain = self._watch.domain
        if cell is None:
            squared = squared_distances(atoms, sites)
            contact = deepest_contact(squared, numbers, charges, domain)
        else:
            contact = deepest_contact_in_box(numbers, atoms, charges, sites, cell, domain)
        return contact is not None and contact.distance < contact.limit

    def _refuse_collapse(self, now: Configuration) -> None:
        """Two ML atoms within each other: no model knows that, and some make it favourable."""
        squared = squared_distances(now.qm_positions, now.qm_positions)
        apart = np.sqrt(np.maximum(squared, 0.0))
        if sentence := collapsed(self.region.atomic_numbers, apart):
            raise ContactError(
                f"ML {sentence}: such atoms have no bond any more; start from a relaxed structure, "
                "with a shorter time step"
            )

    def frame(self, positions: FloatArray, cell: FloatArray | None) -> Frame:
        """The region and all charges as one frame, without labels, about the region's centre."""
        now = self.region.configuration(positions, cell)
        return self._frame(now, now.qm_positions.mean(axis=0))

    def _frame(self, now: Configuration, origin: FloatArray | float = 0.0) -> Frame:
        return Frame(
            self.region.atomic_numbers,
            now.qm_positions - origin,
            now.mm_positions - origin,
            self.region.mm_charges,
            self.region.total_charge,
            self.region.spin_multiplicity,
        )

    def _surrounded(self, switch: tuple[float, float]) -> SurroundedModels | TracedModels:
        order = self._members[0].config.l_expansion
        if self.electrostatics == "all":
            return TracedModels(self._members)
        if self.electrostatics == "ewald":
            return SurroundedModels(self._members, Ewald(order, dtype=self._dtype))
        inner, outer = switch
        groups = np.unique(self.region.mm_groups, return_inverse=True)[1]
        cutoff = SwitchedCutoff(groups, order, inner=inner, outer=outer, dtype=self._dtype)
        return SurroundedModels(self._members, cutoff, images=False)

    def _predict(
        self, now: Configuration, cell: FloatArray | None
    ) -> tuple[Prediction, Spread, float]:
        """Mean and spread of the members, and the energy with periodic images, eV."""
        if isinstance(self._models, TracedModels):
            frame = self._frame(now, now.qm_positions.mean(axis=0))
            frames = FrameBatch.from_frames([frame], dtype=self._dtype)
            return *self._models.mean_and_spread(frames), 0.0
        frames = FrameBatch.from_frames([self._frame(now)])
        each = self._models(frames, cell)
        image_energy = float(np.mean([float(one.image_energy) for one in each]))
        return *mean_and_spread([one.total for one in each]), image_energy


def opened(
    model: str | os.PathLike[str] | MultiscaleModel | Committee,
) -> tuple[MultiscaleModel | Committee, dict[str, Any]]:
    """A model and its card; of a model that is loaded already, an empty card."""
    return (model, {}) if isinstance(model, MultiscaleModel | Committee) else load_model(model)


def _array(tensor: torch.Tensor) -> FloatArray:
    return tensor.detach().cpu().numpy().astype(np.float64)
