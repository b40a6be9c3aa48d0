"""The model as an ASE calculator of QM atoms in the potential of MM charges.

    >>> atoms.calc = EqMM("model.eqmm")                       # doctest: +SKIP
    >>> atoms.calc.embed(mm_charges, mm_positions)            # doctest: +SKIP
    >>> atoms.get_potential_energy(), atoms.calc.mm_forces    # doctest: +SKIP

How results stay valid, and what the atoms remember, is in `eqmm_ase.calculator.embedded`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import (
    CalculationFailed,
    PropertyNotImplementedError,
    all_changes,
)
from ase.stress import full_3x3_to_voigt_6_stress

from eqmm_ase.arrays import FloatArray
from eqmm_ase.calculator.box import check_same_box, cluster_of
from eqmm_ase.calculator.boxed_models import BoxedModels
from eqmm_ase.calculator.domain_warnings import DomainWarnings
from eqmm_ase.calculator.embedded import EmbeddedCalculator
from eqmm_ase.calculator.settings import (
    DEFAULTS,
    DTYPES,
    Setting,
    check_parameter,
    given_charge,
)
from eqmm_ase.cuda.captured import CapturedModels
from eqmm_ase.data import checks
from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee, Spread, mean_and_spread, members_of
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import cast, load_model
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.network.traced import TracedModels
from eqmm_ase.uncertainty.calibration import Calibration, Uncertainty
from eqmm_ase.uncertainty.domain import Domain


class NotFiniteError(CalculationFailed):
    """The model's answer is not a number."""


class EqMM(EmbeddedCalculator):
    """ASE calculator of an EqMM model: energy and forces of a QM region in MM point charges.

    The energy is that of the QM region and its electrostatic interaction with the MM charges given
    to `embed`; without charges it is that of the molecule in vacuum. Charge–charge energy is never
    included. In a periodic box (``embed(..., cell=)``) all images of the charges act on the QM
    region, and so do its own images; the QM atoms may then be wrapped in any way. Without one the
    QM atoms are a cluster, of which no periodic image may lie within the model's cutoff.

    Beside ASE's methods it has `embed`, to give it MM charges and their box; `mm_forces` and
    `mm_potential`, the forces on these charges and the potential at them; `uncertainty`, of a
    committee; ``card``, what the model file says of level of theory and training; and ``domain``,
    which systems and shortest distances the training data hold.

    Parameters
    ----------
    model
        A model file, or a model or committee, which is copied.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    dtype
        Floating-point precision: ``"float32"`` for speed; ``"float64"`` for vibrations, tight
        relaxations and long NVE runs.
    total_charge, spin_multiplicity
        Those of the QM region. None: what the atoms say, in ``atoms.info["total_charge"]``,
        ``atoms.info["charge"]`` or another way of `eqmm_ase.data.charge_and_spin`; otherwise the
        only ones that the model knows for such a molecule, or 0 and 1.
    contacts
        What to do when an atom is much closer to an MM charge than any in the training data, or
        to another atom than half a bond length: ``"error"`` raises `ContactError`, ``"warn"`` warns
        once and goes on.

    Raises
    ------
    ModelFileError, FileNotFoundError
        When the file is not a model.
    ValueError
        A setting that does not exist, a device that is not there.
    """

    implemented_properties = ["energy", "free_energy", "forces", "charges", "dipole", "stress"]  # noqa: RUF012
    default_parameters = DEFAULTS

    def __init__(
        self,
        model: str | os.PathLike[str] | MultiscaleModel | Committee,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        total_charge: int | None = None,
        spin_multiplicity: int | None = None,
        contacts: str = "error",
    ) -> None:
        if isinstance(model, MultiscaleModel | Committee):
            # The original keeps its width, device and gradients.
            self._source: MultiscaleModel | Committee = copy.deepcopy(model).cpu().eval()
            self.card: dict[str, Any] = {}
        else:
            self._source, self.card = load_model(model)
        if not self._predicts_what_is_asked():
            from eqmm_ase.data.baseline import other_calculator  # takes h5py along

            raise ValueError(f"{model} {other_calculator(self.card)}")
        self._source.requires_grad_(False)
        self.domain = Domain.from_dict(self.card.get("domain", {}))
        self.calibration = Calibration.from_dict(self.card.get("calibration", {}))
        self._mm_results: tuple[FloatArray, FloatArray] | None = None
        self._uncertainty: Uncertainty | None = None
        super().__init__(DomainWarnings(self.domain, self.calibration))
        self._settle()
        self.set(
            device=device,
            dtype=dtype,
            total_charge=total_charge,
            spin_multiplicity=spin_multiplicity,
            contacts=contacts,
        )

    @overload
    @classmethod
    def pretrained(cls) -> tuple[str, ...]: ...

    @overload
    @classmethod
    def pretrained(cls, name: str, **settings: Any) -> EqMM: ...

    @classmethod
    def pretrained(cls, name: str | None = None, **settings: Any) -> EqMM | tuple[str, ...]:
        """A model that comes with EqMM, with settings; without a name, the names that there are.

        Raises ValueError when there is no such model. ``calc.card`` says what it is good for.
        """
        from eqmm_ase.models.pretrained import pretrained_file, pretrained_models

        return pretrained_models() if name is None else cls(pretrained_file(name), **settings)

    # --- settings ---

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change settings of the constructor, by keyword; cached results are then discarded.

        Returns
        -------
        dict
            The settings that changed.

        Raises
        ------
        ValueError
            An unknown name or value; nothing is changed then.
        """
        for name, value in kwargs.items():
            check_parameter(name, value)
        with self._lock:
            changed: dict[str, Any] = super().set(**kwargs)
            if changed:
                self.reset()
            if changed.keys() & {"device", "dtype"}:
                self._settle()
        return changed

    def reset(self) -> None:
        """Discard cached results. Settings and MM charges stay."""
        super().reset()
        self._forget()

    @property
    def n_members(self) -> int:
        """Number of models whose mean is the answer; 1 unless it is a committee."""
        return len(members_of(self._source))

    # --- results ---

    @property
    def mm_forces(self) -> FloatArray:
        """Forces on the MM charges, (n_mm, 3), eV/Å; a copy, recomputed if anything moved."""
        return self._refreshed()[0]

    @property
    def mm_potential(self) -> FloatArray:
        """Potential of the QM region at the MM charges, dE/dq, (n_mm,), V; as for `mm_forces`."""
        return self._refreshed()[1]

    @property
    def uncertainty(self) -> Uncertainty:
        """Expected errors of energy (eV) and QM forces (n_qm,) (eV/Å); as for `mm_forces`.

        They come from how much the members of a committee differ, scaled to the errors on the
        validation frames where the model file knows them.

        Raises
        ------
        PropertyNotImplementedError
            For a single model, which cannot tell.
        """
        if not isinstance(self._source, Committee):
            raise PropertyNotImplementedError(
                "a single model knows no uncertainty; train a committee (eqmm train --committee 4)"
            )
        with self._lock:
            self._refreshed()
            assert self._uncertainty is not None
            return self._uncertainty

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all results; ASE calls this when they are out of date.

        The stress, which takes more time, is computed only where it is asked for: dE/dε / V (eV/Å³,
        in Voigt's order) of this energy, where QM atoms, MM charges and box are all strained.

        Raises
        ------
        ValueError
            Inconsistent or non-finite input; an element, charge or spin the model does not know;
            periodic atoms in another box than that of the charges, or with images too near.
        PropertyNotImplementedError
            The stress without a box.
        ContactError
            Atoms far closer to charges than in training, unless ``contacts="warn"``.
        NotFiniteError
            The model's answer is not a number.
        """
        strained = "stress" in properties
        if strained and self._charges.cell is None:
            raise PropertyNotImplementedError(
                "there is no stress without a periodic box: give embed() a cell"
            )
        self._forget()
        if atoms is None:
            atoms = self._current_atoms()
        self._refuse_forgotten_charges(atoms)
        # Not through super(): that makes sure of a folder to write files in, which EqMM never does.
        self.atoms = atoms = atoms.copy()
        setting = self._setting(atoms)
        positions = cluster_of(atoms.positions, setting.cell)
        self._check_region(atoms, positions, setting)

        # float32 resolves 4e-6 Å at 50 Å from the origin: hand over positions about the molecule.
        origin = positions.mean(axis=0)
        frame = Frame(
            atoms.numbers,
            positions - origin,
            setting.mm_positions - origin,
            setting.mm_charges,
            setting.total_charge,
            setting.spin_multiplicity,
        )
        prediction, spread, stress = self._predict(frame, setting.cell, strained)
        if spread is not None:
            self._uncertainty = self.calibration.uncertainty(
                float(spread.energy[0]), _array(spread.qm_forces)
            )
        self._watch.uncertainty(self._uncertainty)
        self._keep(prediction, origin, setting)
        if stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    # --- inside ---

    def _predicts_what_is_asked(self) -> bool:
        """Whether the model predicts energies, not differences from a cheaper method's."""
        return "baseline" not in self.card

    def _settle(self) -> None:
        # From the original each time: float64 weights must survive a visit to float32.
        model = cast(copy.deepcopy(self._source), DTYPES[self.parameters["dtype"]])
        members = members_of(model.to(self.parameters["device"]))
        self._models: TracedModels | CapturedModels
        if torch.device(self.parameters["device"]).type == "cpu":
            self._models = TracedModels(members)
        else:
            self._models = CapturedModels(members)
        self._boxed = BoxedModels(self._models.models)

    def _predict(
        self, frame: Frame, cell: FloatArray | None, strained: bool
    ) -> tuple[Prediction, Spread | None, FloatArray | None]:
        """Of a committee the mean and its spread; the stress, (3, 3) eV/Å³, where asked for."""
        several = isinstance(self._source, Committee)
        device = self.parameters["device"]
        if cell is None:
            dtype = DTYPES[self.parameters["dtype"]]
            frames = FrameBatch.from_frames([frame], dtype)
            if several:
                return *self._models.mean_and_spread(frames), None
            return self._models(frames)[0], None, None
        if device != "cpu":
            raise ValueError(
                f"periodic boxes are computed on the CPU, but device is {device!r}: set it to 'cpu'"
            )
        each, stress = self._boxed(frame, cell, self._charges, strained=strained)
        return *(mean_and_spread(each) if several else (each[0], None)), stress

    def _check_region(self, atoms: Atoms, positions: FloatArray, setting: Setting) -> None:
        try:
            setting.check_electrons(atoms.numbers)
        except checks.ElectronCountError as error:
            given = given_charge(self.parameters, atoms) is not None
            if given or not setting.total_charge:
                raise
            raise ValueError(
                f"{error}; the model knows no other charge, and none was given"
            ) from error
        self._watch.region(atoms.numbers, positions, *setting.state)
        if setting.cell is not None:
            check_same_box(atoms, setting.cell)
        elif atoms.pbc.any():
            checks.refuse_periodic(atoms, self._source.config.cutoff)
        refuse = self.parameters["contacts"] == "error"
        self._watch.contacts(atoms.numbers, positions, setting, refuse)

    def _keep(self, prediction: Prediction, origin: FloatArray, setting: Setting) -> None:
        energy = float(prediction.energy[0])
        forces = _array(prediction.qm_forces)
        if not (np.isfinite(energy) and np.isfinite(forces.sum())):
            raise NotFiniteError(
                f"the model's energy ({energy}) or forces are not finite: "
                + (self._watch.strange or "the structure is unlike anything it was trained on")
            )
        charges = _array(prediction.charges)
        self._mm_results = (_array(prediction.mm_forces), _array(prediction.mm_potential))
        self._computed_for = setting
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
            "charges": charges,
            # A charged molecule's dipole moves with the origin it is counted from.
            "dipole": _array(prediction.dipole)[0] + charges.sum() * origin,
        }

    def _forget(self) -> None:
        self._computed_for = None
        self._mm_results = None

    def _refreshed(self) -> tuple[FloatArray, FloatArray]:
        with self._lock:
            self.get_property("energy", self._current_atoms())
            assert self._mm_results is not None
            return self._mm_results[0].copy(), self._mm_results[1].copy()


def _array(tensor: torch.Tensor) -> FloatArray:
    return tensor.detach().cpu().numpy().astype(np.float64)
