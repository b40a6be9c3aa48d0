"""Gradient of the Coulomb and exchange energies with density fitting.

With b_P = Σ_μν D_μν (μν|P), b^P_ij the same for pairs of occupied orbitals of one spin,
d = J⁻¹ b and t_ij = J⁻¹ b_ij, J_PQ = (P|Q), and a the fraction of exact exchange, at a fixed
density matrix

    dE = Σ_Pμν Γ^P_μν d(μν|P) + Σ_PQ γ_PQ dJ_PQ,
    Γ^P_μν = d_P D_μν − a Σ_spin Σ_ij t^P_ij C_μi C_νj,   γ = −½ d dᵀ + ½ a Σ_spin Σ_ij t_ij t_ijᵀ.

One pass over the integrals (∂μ ν|P) is enough: moving all three centres changes nothing, so that
the derivative by the centre of P is minus the sum of the other two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

_MEMORY = 32e6  # bytes of one block of three-centre integrals


def fitted_gradient(
    molecule: Any, auxiliary: Any, orbitals: list[np.ndarray], exchange: float
) -> np.ndarray:
    """Derivative of the fitted Coulomb and exchange energies by the nuclei.

    Parameters
    ----------
    molecule, auxiliary
        PySCF molecules with the basis and the fitting functions.
    orbitals : list of (nao, n_occupied)
        Occupied orbitals of each spin.
    exchange
        Fraction of exact exchange.

    Returns
    -------
    (n_atoms, 3), Hartree/Bohr

    Raises
    ------
    numpy.linalg.LinAlgError
        When the fitting functions are linearly dependent.
    """
    density = sum(c @ c.T for c in orbitals)
    metric = cho_factor(auxiliary.intor("int2c2e"), lower=True)
    charges, pairs = _fitted(molecule, auxiliary, density, orbitals)
    charges = cho_solve(metric, charges)
    pairs = [cho_solve(metric, b.reshape(len(b), -1)).reshape(b.shape) for b in pairs]

    by_function, by_fitting = np.zeros((3, molecule.nao)), np.zeros((3, auxiliary.nao))
    for block, integrals in _blocks(molecule, auxiliary, "int3c2e_ip1"):  # (3, P, ν, μ)
        weight = charges[block, None, None] * density
        for c, t in zip(orbitals, pairs, strict=True):
            weight -= exchange * (c @ t[block] @ c.T)
        weight = weight.reshape(len(weight), -1)
        for x in range(3):
            product = weight.reshape(-1, *density.shape) * integrals[x]
            by_fitting[x, block] = 2.0 * product.sum((1, 2))
            by_function[x] -= 2.0 * product.sum((0, 1))
    flat = [t.reshape(len(t), -1) for t in pairs]
    weight = 0.5 * exchange * sum(t @ t.T for t in flat) - 0.5 * np.outer(charges, charges)
    by_fitting -= 2.0 * np.einsum("xpq,pq->xp", auxiliary.intor("int2c2e_ip1"), weight)
    return _by_atom(molecule, by_function) + _by_atom(auxiliary, by_fitting)


def _fitted(
    molecule: Any, auxiliary: Any, density: np.ndarray, orbitals: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """b, (n_fit,), and b_ij of each spin, (n_fit, n_occupied, n_occupied)."""
    charges = np.empty(auxiliary.nao)
    pairs = [np.empty((auxiliary.nao, c.shape[1], c.shape[1])) for c in orbitals]
    for block, integrals in _blocks(molecule, auxiliary, "int3c2e"):
        matrices = integrals[0]
        charges[block] = matrices.reshape(len(matrices), -1) @ density.ravel()
        for c, b in zip(orbitals, pairs, strict=True):
            b[block] = c.T @ (matrices @ c)
    return charges, pairs


def _blocks(molecule: Any, auxiliary: Any, kind: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of fitting functions and their integrals, (components, block, nao, nao).

    The function that bears a derivative is the last index.
    """
    from pyscf.gto.moleintor import getints, make_cintopt

    both = molecule + auxiliary
    name = molecule._add_suffix(kind)
    optimiser = make_cintopt(both._atm, both._bas, both._env, name)
    starts = auxiliary.ao_loc_nr()
    components = 3 if kind.endswith("ip1") else 1
    size = max(1, int(_MEMORY / (8 * components * molecule.nao**2)))
    n, first = molecule.nbas, 0
    while first < auxiliary.nbas:
        last = first + 1
        while last < auxiliary.nbas and starts[last + 1] - starts[first] <= size:
            last += 1
        integrals = getints(
            name,
            both._atm,
            both._bas,
            both._env,
            (0, n, 0, n, n + first, n + last),
            comp=components,
            aosym="s1",
            cintopt=optimiser,
        )
        integrals = integrals.reshape(components, *integrals.shape[-3:])
        yield slice(starts[first], starts[last]), integrals.transpose(0, 3, 2, 1)
        first = last


def _by_atom(molecule: Any, by_function: np.ndarray) -> np.ndarray:
    slices = molecule.aoslice_by_atom()[:, 2:]
    return np.stack([by_function[:, start:stop].sum(1) for start, stop in slices])
