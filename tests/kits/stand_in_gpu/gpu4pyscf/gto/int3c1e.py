"""Integrals of point charges."""

from __future__ import annotations

import cupy
import numpy as np


def int1e_grids(
    mol, grids, charge_exponents=None, dm=None, charges=None, direct_scf_tol=1e-13, intopt=None
):
    assert [charge_exponents, charges, intopt] == [None] * 3, "not stood in for"
    assert len(grids) > 0
    assert dm.ndim == 2, "the total density"
    return cupy.asarray(np.einsum("kij,ij->k", mol.intor("int1e_grids", grids=grids), dm))
