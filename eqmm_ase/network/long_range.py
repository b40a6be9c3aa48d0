"""QM atoms beyond the graph's cutoff: the electrostatics of their multipoles, and their charge.

E_lr = Σ_(i<j) s(r_ij) Σ_lm μ^i_lm C^(j→i)_lm,   μ^i_lm = ∂E/∂C^i_lm of the network's own energy E

C^(j→i) is the expansion at atom i of the potential that the multipoles of atom j make, complete up
to the power r^−(L+1). s rises from 0 at 0.6 to 1 at 0.9 of the cutoff, with two continuous
derivatives: bonds and angles belong to the network, and where it has to make up for the last part
of Coulomb's law, its messages have not yet faded.

**Which multipoles.** ∂E/∂C, with which a QM molecule acts on MM charges and which those labels
train, and not the readout M: ε depends on C̃ as well, and of a molecule's dipole M is only a part.
With them E_lr is the first order of perturbation theory, for permanent and induced moments alike;
that distant QM atoms polarise each other is of second order and left out.

**Which charges.** A share of Q alone would make Na⁺ ⋯ Cl⁻ (Q = 0) two neutral atoms, so each
element has a formal charge z, that of its lone atoms in the training data, which an atom takes on
as its last neighbour leaves, and only Q − Σ z is shared. Anything learned that an atom in a
molecule could have as well would add up to something in neutral molecules too, and what makes up
for it would depend on what else is in the QM region: they would no longer add. The price is that
an ion of several atoms gets what the lone ones leave of Q, and two of them without edges between
them share it.

Source: A. J. Stone, The Theory of Intermolecular Forces (2013), ch. 3 and 4.
"""

from __future__ import annotations

import torch

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import Edges, distant_qm_pairs
from eqmm_ase.network.harmonics import ExactModule, irregular_harmonics, translation_tensor
from eqmm_ase.network.radial import smooth_cutoff
from eqmm_ase.units import COULOMB_CONSTANT

_ONSET, _FULL = 0.6, 0.9  # of the cutoff

Pairs = tuple[torch.Tensor, torch.Tensor]


class LongRange(ExactModule):
    """Interaction of distant QM atoms; nothing at all where all are near each other."""

    ion_charges: torch.Tensor
    table: torch.Tensor
    first_order: torch.Tensor
    second_order: torch.Tensor

    def __init__(self, cutoff: float, l_max: int, n_elements: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.l_max = l_max
        self.register_buffer("ion_charges", torch.zeros(n_elements))
        tensor = translation_tensor(l_max)
        first, second = tensor.any(2).nonzero().unbind(1)
        self.register_constant("table", COULOMB_CONSTANT * tensor[first, second].T)  # (c, o)
        self.register_buffer("first_order", first, persistent=False)
        self.register_buffer("second_order", second, persistent=False)

    def pairs(self, frames: FrameBatch) -> Pairs | None:
        """Both atoms of all pairs that E_lr is made of; None where there are none."""
        pairs = distant_qm_pairs(frames, _ONSET * self.cutoff)
        return pairs if len(pairs[0]) else None

    def forward(self, multipoles: torch.Tensor, frames: FrameBatch, pairs: Pairs) -> torch.Tensor:
        """E_lr of every frame, (F,) eV, from multipoles (N, (L+1)²) in e·Å^l."""
        first, second = pairs
        positions = frames.qm_positions
        vectors = positions.index_select(0, second) - positions.index_select(0, first)
        at_first = multipoles.index_select(0, first).T.index_select(0, self.first_order)
        at_second = multipoles.index_select(0, second).T.index_select(0, self.second_order)
        coupled = self.table @ (at_first * at_second)  # (c, P)
        energies = (coupled * irregular_harmonics(vectors.T, self.l_max)).sum(0)
        energies = energies * switch_on(torch.linalg.vector_norm(vectors, dim=1), self.cutoff)
        owner = frames.qm_frame_index().index_select(0, first)
        return energies.new_zeros(frames.n_frames).index_add(0, owner, energies)

    def formal_charges(
        self, elements: torch.Tensor, edges: Edges, frames: FrameBatch
    ) -> torch.Tensor:
        """Charges z of atoms without neighbours, 0 of others, (N,) e.

        z_i = z_element g(Σ_j 1 − s(r_ij)), g falling from 1 at 0 to 0 at 1: one neighbour nearer
        than where s begins is enough.
        """
        positions = frames.qm_positions
        vectors = edges.from_sender(positions) - edges.from_receiver(positions)
        distances = torch.linalg.vector_norm(vectors, dim=1)
        closeness = edges.sum_at_receiver(1.0 - switch_on(distances, self.cutoff), len(elements))
        return self.ion_charges.index_select(0, elements) * smooth_cutoff(closeness, 1.0)


def switch_on(distances: torch.Tensor, cutoff: float) -> torch.Tensor:
    """s(r): 0 up to 0.6 of the cutoff, 1 from 0.9 of it on, with two continuous derivatives."""
    beyond = (distances - _ONSET * cutoff).clamp(min=0.0)
    return 1.0 - smooth_cutoff(beyond, (_FULL - _ONSET) * cutoff)
