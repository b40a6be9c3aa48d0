"""Labels by GPU4PySCF: PySCF's objects with their arrays and kernels on an NVIDIA GPU.

What is particular about it, all read in version 1.9.0:

- The one order is PySCF's object, fitted, then ``to_gpu()``, then GPU4PySCF's ``mm_charge``. A GPU
  object that is fitted later does not ask for the functional: with def2 basis sets and a functional
  without exact exchange it takes another auxiliary basis. One of PySCF's in charges cannot be
  brought to the GPU.
- The energy of nuclei and charges, and that of dispersion, are kept in the object when its charges
  change: every mean field here is a new object, and shares nothing with another.
- Charges are points; Gaussian ones are refused by an assertion. Frames have no radii.
- The gradient at the MM sites wants the total density, two-dimensional, also of open shells.
- Arrays of the GPU do not become NumPy's by themselves: `HostField` hands them over.

Atomic charges, dipole and the checks of a label are computed on the CPU, from the density.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

import numpy as np

from datagen.labels.backend import mm_sites, total_density
from datagen.labels.method import Method
from datagen.labels.plain_pyscf import PlainPySCF, add_nuclei, bare_mean_field
from eqmm_ase.data.frame import Frame


class HostField:
    """A mean field on the GPU that gives NumPy arrays, by the names that PySCF has.

    Parameters
    ----------
    on_device
        GPU4PySCF's object.
    """

    def __init__(self, on_device: Any) -> None:
        object.__setattr__(self, "on_device", on_device)

    def __getattr__(self, name: str) -> Any:
        return _on_host(getattr(self.on_device, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.on_device, name, value)


class GPU4PySCF(PlainPySCF):
    """Backend of GPU4PySCF; `datagen.labels.devices` has loaded it and found a device."""

    def versions(self) -> dict[str, str]:
        """Versions of PySCF, GPU4PySCF and CuPy, by name."""
        import cupy
        import gpu4pyscf

        on_gpu = {"gpu4pyscf": gpu4pyscf.__version__, "cupy": cupy.__version__}
        return {**super().versions(), **on_gpu}

    def mean_field(self, molecule: Any, frame: Frame, method: Method) -> Any:
        """Mean field of the QM region in its charges, not yet run."""
        from gpu4pyscf.qmmm import mm_charge

        field = bare_mean_field(molecule, method)
        if method.density_fit:
            field = field.density_fit()
        field = field.to_gpu()
        if frame.n_mm:
            field = mm_charge(field, *mm_sites(frame), unit="Bohr")
        return HostField(field)

    def without_charges(self, field: Any, frame: Frame, method: Method) -> Any:
        """Mean field of the same molecule in vacuum, a new one altogether, not yet run."""
        return self.mean_field(field.mol, frame.in_vacuum(), method)

    def site_potential(self, field: Any, sites: np.ndarray) -> np.ndarray:
        """Electrostatic potential of nuclei and electrons at the sites, (n,), Hartree/e."""
        from gpu4pyscf.gto.int3c1e import int1e_grids

        if not len(sites):
            return np.zeros(0)
        potential = -_on_host(int1e_grids(field.mol, sites, dm=total_density(field)))
        add_nuclei(potential, field.mol, sites)
        return np.asarray(potential)


def _on_host(value: Any) -> Any:
    """What GPU4PySCF answers, with NumPy arrays in the place of CuPy's."""
    import cupy
    from gpu4pyscf.scf.hf import SCF

    if isinstance(value, cupy.ndarray):
        return cupy.asnumpy(value)
    if isinstance(value, tuple | list):
        return type(value)(_on_host(item) for item in value)
    if isinstance(value, SCF):
        return HostField(value)
    if isinstance(value, MethodType | FunctionType):
        return lambda *args, **kwargs: _on_host(value(*args, **kwargs))
    return value
