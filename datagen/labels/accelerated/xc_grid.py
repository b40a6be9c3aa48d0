"""Exchange-correlation energy, potential and forces on an atom-centred grid, in small blocks.

PySCF evaluates basis functions and functional; what is added here is the order of the work. The
points of each atom are sorted into boxes, so that a block of neighbouring points is met by few
basis functions and fits the processor's cache: the matrices are small and dense. Points and
weights are those of `pyscf.dft.Grids`.

With X = D φ, Y = D Σ_c v_c ∂_c φ, and v the derivatives of the energy density by ρ and ∇ρ, a
function φ_μ that its atom carries along changes the energy by
−2 Σ_g (∂φ_μ Y_μ + Σ_k ∂∂_kφ_μ v_k X_μ); a point that its atom carries along by the opposite,
summed over all functions. The weights change as well: `datagen.labels.accelerated.becke_weights`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from datagen.labels.accelerated.becke_weights import BeckeWeights

_BLOCK = 1792  # points, a multiple of the 56 that PySCF screens at once
_BOX = 3.0  # Bohr, edge of the boxes that points are sorted into
_ROUNDING = 1e-12  # largest difference of density matrices that are one and the same
_SECOND = ((4, 5, 6), (5, 7, 8), (6, 8, 9))  # where PySCF keeps xx xy xz / yx yy yz / zx zy zz


@dataclass(frozen=True, eq=False)
class _Block:
    """Neighbouring points of one atom and the basis functions that reach them."""

    atom: int
    points: np.ndarray  # (n, 3) Bohr
    weights: np.ndarray  # (n,)
    unshared: np.ndarray  # (n,) weights before they were shared among the atoms
    screen: np.ndarray  # PySCF's index of negligible shells
    functions: np.ndarray  # indices of the basis functions
    shells: Any  # PySCF molecule that has the shells of these functions only


@dataclass(frozen=True, eq=False)
class _Functional:
    """A density and its functional on a block; s counts spins, c the components 1, ∂x, ∂y, ∂z."""

    density: np.ndarray  # (s, n)
    energy: np.ndarray  # per volume, (n,)
    slopes: np.ndarray  # derivatives of the energy per volume by ρ and ∇ρ, (s, c, n)


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """What a density makes of a block."""

    functions: np.ndarray  # φ and derivatives, (components, n_functions, n)
    contracted: np.ndarray  # X = D φ, (s, n_functions, n)
    functional: _Functional


class XCGrid:
    """The grid of one molecule; evaluates LDA and GGA functionals, alone or as parts of hybrids.

    Parameters
    ----------
    grids
        PySCF's grid; it need not be built.
    functional
        As PySCF spells it.
    keep
        Whether the basis functions stay in memory: for a small grid that is used often.
    """

    def __init__(self, grids: Any, functional: str, *, keep: bool = False) -> None:
        from pyscf.dft.numint import NumInt

        self.molecule, self.functional = grids.mol, functional
        self._evaluator = NumInt()
        self._kind = self._evaluator._xc_type(functional)
        self._blocks = list(_blocks(grids))
        self._keep = keep
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._last: tuple[np.ndarray, list[_Functional]] | None = None

    def energy_and_potential(self, densities: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """Number of electrons, energy, and derivative of the energy by the density matrix.

        Parameters
        ----------
        densities : (n_spin, nao, nao)
            The total density matrix (n_spin = 1), or one for each spin.

        Returns
        -------
        (n_spin,), Hartree, (n_spin, nao, nao)
        """
        electrons, energy = np.zeros(len(densities)), 0.0
        potential = np.zeros_like(densities)
        for block, here in self._evaluate(densities, derivatives=0):
            electrons += here.functional.density @ block.weights
            energy += float(block.weights @ here.functional.energy)
            where = np.ix_(block.functions, block.functions)
            weighted = here.functional.slopes * block.weights
            for matrix, slopes in zip(potential, weighted, strict=True):
                slopes[0] *= 0.5  # the other half comes with the transpose
                matrix[where] += _combine(here.functions, slopes) @ here.functions[0].T
        return electrons, energy, potential + potential.transpose(0, 2, 1)

    def gradient(self, densities: np.ndarray) -> np.ndarray:
        """Derivative of the energy by the nuclei at a fixed density matrix.

        Functions, points and weights all move with their atoms.

        Parameters
        ----------
        densities : (n_spin, nao, nao)

        Returns
        -------
        (n_atoms, 3), Hartree/Bohr
        """
        by_function = np.zeros((3, self.molecule.nao))
        total = np.zeros((self.molecule.natm, 3))
        weights = BeckeWeights(self.molecule)
        for block, here in self._evaluate(densities, derivatives=1):
            where = np.ix_(block.functions, block.functions)
            carried = np.zeros((3, len(block.functions)))
            weighted = here.functional.slopes * block.weights
            for matrix, contracted, slopes in zip(
                densities, here.contracted, weighted, strict=True
            ):
                combined = matrix[where] @ _combine(here.functions, slopes)
                carried -= 2.0 * _carried(here.functions, combined, contracted, slopes)
            by_function[:, block.functions] += carried
            total[block.atom] -= carried.sum(1)
            factors = block.unshared * here.functional.energy
            total += weights.gradient(block.atom, block.points, factors)
        for atom, (_, _, start, stop) in enumerate(self.molecule.aoslice_by_atom()):
            total[atom] += by_function[:, start:stop].sum(1)
        return total

    def _evaluate(
        self, densities: np.ndarray, derivatives: int
    ) -> Iterator[tuple[_Block, _Evaluated]]:
        """Go through the blocks; what one step yields is overwritten by the next."""
        known = self._of_last(densities)
        functionals = []
        order = derivatives + (self._kind != "LDA")
        components = (order + 1) * (order + 2) * (order + 3) // 6
        buffer = np.empty(components * self.molecule.nao * _BLOCK)
        for number, block in enumerate(self._blocks):
            functions = self._functions(number, order, buffer)
            where = np.ix_(block.functions, block.functions)
            contracted = np.stack([matrix[where] @ functions[0] for matrix in densities])
            if known is None:
                functionals.append(self._functional(functions, contracted))
            else:
                functionals.append(known[number])
            yield block, _Evaluated(functions, contracted, functionals[-1])
        self._last = densities.copy(), functionals

    def _of_last(self, densities: np.ndarray) -> list[_Functional] | None:
        """The functional of the density met last, where this is the same but for rounding."""
        if self._last is None or self._last[0].shape != densities.shape:
            return None
        same = np.abs(self._last[0] - densities).max() < _ROUNDING
        return self._last[1] if same else None

    def _functions(self, number: int, order: int, buffer: np.ndarray) -> np.ndarray:
        """Basis functions and derivatives on a block, (components, n_functions, n)."""
        from pyscf.dft.numint import eval_ao

        if (number, order) in self._kept:
            return self._kept[number, order]
        block = self._blocks[number]
        out = None if self._keep else buffer
        functions = eval_ao(block.shells, block.points, deriv=order, non0tab=block.screen, out=out)
        functions = functions.reshape(-1, *functions.shape[-2:]).transpose(0, 2, 1)
        if self._keep:
            self._kept[number, order] = functions
        return functions

    def _functional(self, functions: np.ndarray, contracted: np.ndarray) -> _Functional:
        components = 1 if self._kind == "LDA" else 4
        rho = np.stack([[_dot(f, x) for f in functions[:components]] for x in contracted])
        rho[:, 1:] *= 2.0
        per_electron, slopes = self._evaluator.eval_xc_eff(
            self.functional,
            rho if len(rho) == 2 else rho[0],
            deriv=1,
            xctype=self._kind,
            spin=len(rho) - 1,
        )[:2]
        density = rho[:, 0].copy()
        return _Functional(density, per_electron * density.sum(0), np.reshape(slopes, rho.shape))


def _blocks(grids: Any) -> Iterator[_Block]:
    from pyscf.dft.gen_grid import make_mask

    molecule = grids.mol
    starts = molecule.ao_loc_nr()
    for atom, points, weights, unshared in _points_by_atom(grids):
        order = np.lexsort(np.floor(points / _BOX).astype(int).T)
        for start in range(0, len(order), _BLOCK):
            chosen = order[start : start + _BLOCK]
            here = np.asfortranarray(points[chosen])
            screen = make_mask(molecule, here)
            kept = np.flatnonzero(screen.any(0))
            if not len(kept):
                continue
            shells = molecule.copy(deep=False)
            shells._bas = molecule._bas[kept]
            yield _Block(
                atom,
                here,
                weights[chosen],
                unshared[chosen],
                np.ascontiguousarray(screen[:, kept]),
                np.concatenate([np.arange(starts[s], starts[s + 1]) for s in kept]),
                shells,
            )


def _points_by_atom(grids: Any) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Atom, points, weights, and weights before they were shared."""
    molecule = grids.mol
    table = grids.gen_atomic_grids(
        molecule, grids.atom_grid, grids.radi_method, grids.level, grids.prune
    )
    points, weights = grids.get_partition(
        molecule,
        table,
        grids.radii_adjust,
        grids.atomic_radii,
        grids.becke_scheme,
        concat=False,
    )
    for atom in range(molecule.natm):
        yield atom, points[atom], weights[atom], table[molecule.atom_symbol(atom)][1]


def _combine(functions: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Σ_c v_c ∂_c φ, (n_functions, n)."""
    return np.einsum("cug,cg->ug", functions[: len(slopes)], slopes)


def _carried(
    functions: np.ndarray, combined: np.ndarray, contracted: np.ndarray, slopes: np.ndarray
) -> np.ndarray:
    """Σ_g (∂φ_μ Y_μ + Σ_k ∂∂_kφ_μ v_k X_μ), (3, n_functions)."""
    carried = np.einsum("xug,ug->xu", functions[1:4], combined)
    for k, slope in enumerate(slopes[1:]):
        scaled = contracted * slope
        for x in range(3):
            carried[x] += np.einsum("ug,ug->u", functions[_SECOND[x][k]], scaled)
    return carried


def _dot(functions: np.ndarray, contracted: np.ndarray) -> np.ndarray:
    return np.einsum("ug,ug->g", functions, contracted)
