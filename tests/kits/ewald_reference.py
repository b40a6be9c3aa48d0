"""Potentials of periodic charges by brute force: NumPy, no harmonics, no FFT.

The scalar potential is summed over images and waves, far beyond need, with a splitting of its own.
Its expansion around a point is read off a small sphere around it: where ∇²φ is constant,
φ(R + ρu) = Σ_lm C_lm ρ^l Y_lm(u) + ρ² ∇²φ/6, and with ∮ Y_lm Y_l'm' = 4π/(2l+1),

    C_lm = (2l+1)/(4π ρ^l) ∮ φ(R + ρu) Y_lm(u) du,   l > 0.
"""

from __future__ import annotations

import numpy as np
import torch
from e3nn import o3
from scipy.special import erfc

from eqmm_ase.units import COULOMB_CONSTANT

REACH = 5.9  # e^(−5.9²) = 8e-16


def potential(points: np.ndarray, sites: np.ndarray, charges: np.ndarray, cell: np.ndarray):
    """Potential (P,) in V of charges and all their images, in a neutralising background."""
    volume = abs(np.linalg.det(cell))
    alpha = 2.4 * (len(sites) ** (1 / 6)) / volume ** (1 / 3)  # as many images as waves
    total = np.full(len(points), -np.pi * charges.sum() / (alpha**2 * volume))

    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    waves = lattice(reciprocal, 2 * alpha * REACH)
    waves = waves[np.linalg.norm(waves, axis=1) > 1e-9]
    square = (waves**2).sum(1)
    weights = 4 * np.pi / volume * np.exp(-square / (4 * alpha**2)) / square
    structure = np.exp(-1j * sites @ waves.T).T @ charges
    total += (np.exp(1j * points @ waves.T) @ (weights * structure)).real

    inverse = np.linalg.inv(cell)
    for site, charge in zip(sites, charges, strict=True):
        vectors = points - site
        nearest = vectors - np.round(vectors @ inverse) @ cell
        around = np.linalg.norm(nearest, axis=1).max()
        for shift in lattice(cell, REACH / alpha + around):
            distance = np.linalg.norm(nearest - shift, axis=1)
            if distance.min() < REACH / alpha:
                total += charge * erfc(alpha * distance) / distance
    return COULOMB_CONSTANT * total


def tensors(atoms, sites, charges, cell, l_max: int, order: int = 8) -> np.ndarray:
    """C (N, (l_max+1)²) at the atoms, in V/Å^l."""
    inverse = np.linalg.inv(cell)
    vectors = sites[None] - atoms[:, None]
    vectors = vectors - np.round(vectors @ inverse) @ cell
    radius = 0.25 * np.linalg.norm(vectors, axis=2).min()
    units, weights = sphere(order)
    points = (atoms[:, None] + radius * units).reshape(-1, 3)
    values = potential(points, sites, charges, cell).reshape(len(atoms), -1)
    found = []
    for l in range(l_max + 1):
        harmonics = o3.spherical_harmonics(l, torch.as_tensor(units), False, "norm").numpy()
        found.append((2 * l + 1) / (4 * np.pi * radius**l) * (values * weights) @ harmonics)
    # The background's part of the mean over the sphere: ∇²φ = 4π k_e Q/V.
    volume = abs(np.linalg.det(cell))
    curvature = 4 * np.pi * COULOMB_CONSTANT * charges.sum() / volume
    found[0] = found[0] - radius**2 / 6 * curvature
    return np.concatenate(found, axis=1)


def energy_of_copies(sites: np.ndarray, charges: np.ndarray, cell: np.ndarray) -> float:
    """Energy in eV of charges with all images of all of them, without that among themselves."""
    energy = 0.0
    volume = abs(np.linalg.det(cell))
    units, weights = sphere(6)
    radius = 0.02 * volume ** (1 / 3)
    for index, charge in enumerate(charges):
        others = np.arange(len(charges)) != index
        if others.any():
            at = potential(sites[[index]], sites[others], charges[others], cell)[0]
            distances = np.linalg.norm(sites[others] - sites[index], axis=1)
            energy += 0.5 * charge * (at - COULOMB_CONSTANT * (charges[others] / distances).sum())
        # Its own images: the mean over a small sphere, without what the charge itself makes there
        # and without the background's curvature.
        around = potential(sites[index] + radius * units, sites[[index]], charges[[index]], cell)
        own = (around - COULOMB_CONSTANT * charge / radius) @ weights / (4 * np.pi)
        own -= radius**2 / 6 * 4 * np.pi * COULOMB_CONSTANT * charge / volume
        energy += 0.5 * charge * own
    return energy


def sphere(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights that integrate polynomials of degree 2·order − 1 over the sphere."""
    cosines, weights = np.polynomial.legendre.leggauss(order)
    angles = np.pi * np.arange(2 * order) / order
    sines = np.sqrt(1 - cosines**2)
    flat = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.concatenate(
        [
            np.concatenate([s * flat, np.full((len(flat), 1), c)], axis=1)
            for s, c in zip(sines, cosines, strict=True)
        ]
    )
    return points, np.repeat(weights * np.pi / order, 2 * order)


def lattice(vectors: np.ndarray, distance: float) -> np.ndarray:
    """All lattice points (n, 3) within a distance of the origin."""
    highest = np.ceil(distance * np.linalg.norm(np.linalg.inv(vectors), axis=0)).astype(int)
    index = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in highest), indexing="ij"), -1)
    points = index.reshape(-1, 3) @ vectors
    return points[np.linalg.norm(points, axis=1) <= distance]
