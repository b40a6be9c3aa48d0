"""Mean fields of the stand-in: PySCF's, with CuPy arrays outside."""

from __future__ import annotations

from types import MethodType

import cupy
import numpy as np


class SCF:
    """A mean field "on the GPU"; ``host`` is PySCF's, which computes."""

    _keys: set[str] = set()  # noqa: RUF012 - PySCF's to_gpu asks for a set

    def __init__(self, host):
        object.__setattr__(self, "host", host)

    def __getattr__(self, name):
        return _on_device(getattr(self.host, name))

    def __setattr__(self, name, value):
        setattr(self.host, name, _on_host(value))

    def get_init_guess(self, mol=None, key="minao", **kwargs):
        return cupy.asarray(self.host.get_init_guess(mol, key, **kwargs))

    def make_rdm1(self, mo_coeff=None, mo_occ=None, **kwargs):
        orbitals = _on_host(mo_coeff), _on_host(mo_occ)
        return cupy.asarray(self.host.make_rdm1(*orbitals, **kwargs))

    def reset(self, mol=None):
        return self

    def nuc_grad_method(self):
        return self.Gradients()

    def Gradients(self):  # noqa: N802 - PySCF's name
        return self.host.nuc_grad_method()

    def scf(self, dm0=None, **kwargs):
        return self.host.kernel(_on_host(dm0), **kwargs)

    kernel = scf


class RHF(SCF):
    """All that is not second order; the functional is the host's affair."""

    def density_fit(self, auxbasis=None, with_df=None, only_dfj=False):
        fitted = self.host.density_fit(auxbasis, with_df, only_dfj)
        fitted.with_df.auxbasis = auxbasis  # the real one does not ask for the functional
        return type(self)(fitted)

    def newton(self):
        from gpu4pyscf.scf.soscf import _CIAH_SOSCF

        return _CIAH_SOSCF(self.host.newton())


def from_cpu(method):
    """What PySCF's ``to_gpu`` calls where a module has it."""
    return RHF(method.copy())


def _on_device(value):
    if isinstance(value, np.ndarray):
        return cupy.asarray(value)
    if isinstance(value, MethodType):
        return lambda *args, **kwargs: _on_device(value(*map(_on_host, args), **kwargs))
    return value


def _on_host(value):
    return value.get() if isinstance(value, cupy.ndarray) else value
