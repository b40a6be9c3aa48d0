"""Contacts of a QM region with charges in a periodic box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.checks import squared_distances
from eqmm_ase.periodic.cell import near_images
from eqmm_ase.uncertainty.contacts import Contact, deepest_contact, farthest_contact
from eqmm_ase.uncertainty.domain import Domain


def deepest_contact_in_box(
    numbers: NDArray[np.integer],
    positions: FloatArray,
    charges: FloatArray,
    sites: FloatArray,
    cell: FloatArray,
    domain: Domain,
) -> Contact | None:
    """The `deepest_contact` among all images of the charges.

    Parameters
    ----------
    numbers, positions: atomic numbers (n_qm,), and (n_qm, 3) Å.
    charges, sites: (n_mm,) e, and (n_mm, 3) Å.
    cell: lattice vectors as rows, (3, 3) Å.
    domain: of the model.
    """
    near, places = near_images(positions, sites, cell, farthest_contact(numbers, domain))
    squared = squared_distances(positions, places)
    contact = deepest_contact(squared, numbers, charges[near], domain)
    return contact and contact._replace(site=int(near[contact.site]))
