"""Frames that the labelling tests share: one water molecule among random charges."""

from __future__ import annotations

import numpy as np

from eqmm_ase.data.frame import Frame

WATER = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.469], [0.0, -0.757, -0.469]])
CLOSEST = 2.0  # Å


def water_in_charges(seed: int = 0, n_charges: int = 20) -> Frame:
    """Slightly bent and displaced water off the origin, with charges no nearer than 2 Å."""
    rng = np.random.default_rng(seed)
    qm = WATER + rng.normal(0.0, 0.03, (3, 3)) + [3.0, 1.0, -2.0]
    mm: list[np.ndarray] = []
    while len(mm) < n_charges:
        site = qm.mean(0) + rng.normal(0.0, 3.0, 3)
        if np.linalg.norm(qm - site, axis=1).min() >= CLOSEST:
            mm.append(site)
    return Frame(
        atomic_numbers=np.array([8, 1, 1]),
        qm_positions=qm,
        mm_positions=np.array(mm).reshape(-1, 3),
        mm_charges=rng.normal(0.0, 0.4, n_charges),
        medium="water",
        source=f"trajectory-{seed % 2}",
    )
