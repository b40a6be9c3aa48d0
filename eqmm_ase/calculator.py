"""The model as an ASE calculator of QM atoms in the potential of MM charges.

    >>> atoms.calc = EqMM("model.eqmm")                       # doctest: +SKIP
    >>> atoms.calc.embed(mm_charges, mm_positions)            # doctest: +SKIP
    >>> atoms.get_potential_energy(), atoms.calc.mm_forces    # doctest: +SKIP

ASE keeps results as long as the QM atoms stay; here they also go when the charges move or change,
or when ``atoms.info`` names another total charge or spin.
"""

from __future__ import annotations

import copy
import os
import weakref
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from numpy.typing import ArrayLike

from eqmm_ase import validation
from eqmm_ase.calculator_settings import DEFAULTS, DTYPES, Setting, check_parameter, of_region
from eqmm_ase.calibration import Calibration, FloatArray, Uncertainty
from eqmm_ase.committee import Committee, mean_and_spread, members_of
from eqmm_ase.domain import Domain
from eqmm_ase.frame import Frame
from eqmm_ase.model import MultiscaleModel, Prediction
from eqmm_ase.model_file import cast, load_model
from eqmm_ase.point_charges import PointCharges
from eqmm_ase.recorded import RecordedModels
from eqmm_ase.system import Frames
from eqmm_ase.watch import Watch


class NotFiniteError(CalculationFailed):
    """The model's answer is not a number."""


class EqMM(Calculator):
    """ASE calculator of an EqMM model.

    The energy is that of the QM region and its electrostatic interaction with the MM charges given
    to `embed`; without charges it is that of the molecule in vacuum. Charge–charge energy is never
    included. The atoms are one cluster: periodicity must not matter (see `calculate`).

    Parameters
    ----------
    model
        A model file, or a model or committee, which is copied.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    dtype
        ``"float32"`` for speed; ``"float64"`` for vibrations, tight relaxations, long NVE runs.
    total_charge, spin_multiplicity
        Of the QM region. None: what the atoms say, in ``atoms.info["total_charge"]``,
        ``atoms.info["charge"]`` or another way of `eqmm_ase.charge_and_spin`; otherwise 0 and 1.

    Raises
    ------
    ModelFileError, FileNotFoundError
        When the file is not a model.
    ValueError
        A setting that does not exist, a device that is not there.
    """

    implemented_properties = ["energy", "free_energy", "forces", "charges", "dipole"]  # noqa: RUF012
    default_parameters = DEFAULTS
    _adds_baseline = False

    def __init__(
        self,
        model: str | os.PathLike[str] | MultiscaleModel | Committee,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        total_charge: int | None = None,
        spin_multiplicity: int | None = None,
    ) -> None:
        if isinstance(model, MultiscaleModel | Committee):
            # The original keeps its width, device and gradients.
            self._source: MultiscaleModel | Committee = copy.deepcopy(model).cpu().eval()
            self.card: dict[str, Any] = {}
        else:
            self._source, self.card = load_model(model)
        if ("baseline" in self.card) != self._adds_baseline:
            from eqmm_ase.delta import other_calculator  # takes h5py along

            raise ValueError(f"{model} {other_calculator(self.card)}")
        self._source.requires_grad_(False)
        self.domain = Domain.from_dict(self.card.get("domain", {}))
        self.calibration = Calibration.from_dict(self.card.get("calibration", {}))
        self._watch = Watch(self.domain, self.calibration)
        self._charges = PointCharges([])
        self._latest: weakref.ref[Atoms] | None = None
        self._computed_for: Setting | None = None
        self._mm_results: tuple[FloatArray, FloatArray] | None = None
        self._uncertainty: Uncertainty | None = None
        super().__init__()
        self._settle()
        self.set(
            device=device,
            dtype=dtype,
            total_charge=total_charge,
            spin_multiplicity=spin_multiplicity,
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
        from eqmm_ase.pretrained import pretrained_file, pretrained_models

        return pretrained_models() if name is None else cls(pretrained_file(name), **settings)

    # --- settings ---

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change settings (those of the constructor, by keyword); results go if any changed.

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
        changed: dict[str, Any] = super().set(**kwargs)
        if changed:
            self.reset()
        if changed.keys() & {"device", "dtype"}:
            self._settle()
        return changed

    def reset(self) -> None:
        """Forget all results. Settings and charges stay."""
        super().reset()
        self._forget()

    def embed(
        self,
        mm_charges: ArrayLike | None,
        mm_positions: ArrayLike | None = None,
        **parameters: Any,
    ) -> PointCharges:
        """Put the QM atoms into the potential of point charges, in place of any earlier ones.

        Parameters
        ----------
        mm_charges
            (n_mm,), e. None or empty: vacuum.
        mm_positions
            (n_mm, 3), Å. None: to follow by ``set_positions`` of the returned handle.
        **parameters
            What ASE's ``Embedding`` passes on for other programs, such as ``rc``: EqMM neither cuts
            off nor smears charges, and warns that it leaves these aside.

        Returns
        -------
        PointCharges
            The handle to move the charges by, as EIQMMM expects it.

        Raises
        ------
        ValueError
            Wrong shapes, NaN, numbers that look like another unit; earlier charges then stay.
        """
        if parameters:
            self._watch.tell(
                f"embed {sorted(parameters)}",
                f"embed() leaves {', '.join(sorted(parameters))} aside: EqMM has no cutoff and no "
                "smearing of MM charges",
                UserWarning,
            )
        charges = PointCharges([] if mm_charges is None else mm_charges, mm_positions)
        self._charges._detach()
        self._charges = charges
        return charges

    @property
    def point_charges(self) -> PointCharges:
        """The MM charges in use; of length zero in vacuum."""
        return self._charges

    @property
    def n_members(self) -> int:
        """Models whose mean the answers are: 1 unless the model is a committee."""
        return len(members_of(self._source))

    # --- results ---

    @property
    def mm_forces(self) -> FloatArray:
        """Forces on the MM charges, (n_mm, 3), eV/Å; a copy, computed anew if anything moved."""
        return self._refreshed()[0].copy()

    @property
    def mm_potential(self) -> FloatArray:
        """Potential of the QM region at the MM charges, dE/dq, (n_mm,), V; a copy, as above."""
        return self._refreshed()[1].copy()

    @property
    def uncertainty(self) -> Uncertainty:
        """Expected errors of energy (eV) and QM forces (n_qm,) (eV/Å), computed as above.

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
        self._refreshed()
        assert self._uncertainty is not None
        return self._uncertainty

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """A result by its ASE name; without `atoms`, for those asked about last, as they now are.

        Raises
        ------
        ValueError
            As `calculate`; also when no atoms were ever given.
        """
        if atoms is None:
            atoms = self._current_atoms()
        elif self._latest is None or self._latest() is not atoms:
            self._latest = weakref.ref(atoms)
        return super().get_property(name, atoms, allow_calculation)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation, as ASE's names or ``"embedding"``.

        The latter stands for the MM charges, the total charge and the spin, which initial charges
        and magnetic moments may say. Direct comparisons, as ASE's take 0.2 ms.
        """
        if self.atoms is None or self._computed_for is None:
            return list(all_changes)
        last = self.atoms
        same = {
            "positions": _close(last.positions, atoms.positions, tol),
            "numbers": np.array_equal(last.numbers, atoms.numbers),
            # They decide whether the atoms may be taken for a cluster.
            "cell": _close(last.cell.array, atoms.cell.array, tol),
            "pbc": np.array_equal(last.pbc, atoms.pbc),
            "embedding": self._computed_for.equals(self._setting(atoms)),
        }
        return [name for name, unchanged in same.items() if not unchanged]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all results; ASE calls this when they are out of date.

        Periodic atoms are accepted as long as no image comes within the model's cutoff of any atom.

        Raises
        ------
        ValueError
            Input that cannot be meant, an element the model does not know.
        NotFiniteError
            The model's answer is not a number.
        """
        self._forget()
        if atoms is None:
            atoms = self._current_atoms()
        # Not through super(): that makes sure of a folder to write files in, which EqMM never does.
        self.atoms = atoms = atoms.copy()
        setting = self._setting(atoms)
        positions = validation.qm_positions(atoms.positions)
        setting.check_electrons(atoms.numbers)
        if atoms.pbc.any():
            validation.refuse_periodic(atoms, self._source.config.cutoff)
        closest = validation.closest_charge(positions, atoms.numbers, *setting[:2])

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
        frames = Frames.from_frames(
            [frame], dtype=DTYPES[self.parameters["dtype"]], device=self.parameters["device"]
        )
        each = self._models(frames)
        prediction = each[0]
        if isinstance(self._source, Committee):
            prediction, spread = mean_and_spread(each)
            self._uncertainty = self.calibration.uncertainty(
                float(spread.energy[0]), _array(spread.qm_forces)
            )
        self._watch.look(atoms.numbers, *setting[2:], closest, self._uncertainty)
        self._keep(prediction, origin, setting)

    # --- inside ---

    def _settle(self) -> None:
        # From the original each time: float64 weights must survive a visit to float32.
        model = cast(copy.deepcopy(self._source), DTYPES[self.parameters["dtype"]])
        self._models = RecordedModels(members_of(model.to(self.parameters["device"])))

    def _keep(self, prediction: Prediction, origin: FloatArray, setting: Setting) -> None:
        energy = float(prediction.energy[0])
        forces = _array(prediction.qm_forces)
        if not (np.isfinite(energy) and np.isfinite(forces.sum())):
            raise NotFiniteError(
                f"the model's energy ({energy}) or forces are not finite: the structure is far "
                "outside anything it was trained on"
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

    def _setting(self, atoms: Atoms) -> Setting:
        charges = self._charges
        if charges._positions is None:
            raise ValueError(
                "the MM charges have no positions yet: give embed() mm_positions, or call "
                "set_positions() of the handle it returned"
            )
        return Setting(
            charges._positions,
            charges._charges,
            of_region("total_charge", self.parameters, atoms),
            of_region("spin_multiplicity", self.parameters, atoms),
        )

    def _forget(self) -> None:
        self._computed_for = None
        self._mm_results = None

    def _refreshed(self) -> tuple[FloatArray, FloatArray]:
        self.get_property("energy", self._current_atoms())
        assert self._mm_results is not None
        return self._mm_results

    def _current_atoms(self) -> Atoms:
        # ASE keeps a copy of the atoms; the original may have moved since.
        atoms = self._latest() if self._latest is not None else None
        if atoms is None:
            atoms = self.atoms
        if atoms is None:
            raise ValueError("the calculator has not seen any atoms yet: ask for an energy first")
        return atoms

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}  # weak references cannot be pickled


def _close(a: FloatArray, b: FloatArray, tol: float) -> bool:
    return a.shape == b.shape and bool((np.abs(a - b) <= tol).all())


def _array(tensor: torch.Tensor) -> FloatArray:
    return tensor.detach().cpu().numpy().astype(np.float64)
