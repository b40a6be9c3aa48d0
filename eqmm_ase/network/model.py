"""The multiscale model: E = Σ_i ε_i(R, C̃) + Σ_i Σ_lm M^i_lm(R, C̃) C^i_lm + E_lr.

C are the local multipole tensors of the MM potential (`expansion`), C̃ the same without
gauge (`environment`). Both ε and M come from one equivariant message-passing network into which C̃
enters in every layer: M·C is then the permanent interaction, and C̃ inside M and ε the
polarisation. E_lr is what QM atoms beyond the cutoff do to each other (`long_range`). All forces,
the potential at the MM sites and the dipole are derivatives of this energy (`prediction`).

Source: Lei, Yagi, Sugita, J. Chem. Phys. 160, 214109 (2024).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import EdgeGeometry, Edges
from eqmm_ase.network.environment import EnvironmentFeatures, EnvironmentMix
from eqmm_ase.network.expansion import expand
from eqmm_ase.network.features import Neighbourhood, PrecomputedFeatures
from eqmm_ase.network.layers import Density, InvariantUpdate, Message, PackedLinear, PackedProduct
from eqmm_ase.network.long_range import LongRange
from eqmm_ase.network.readout import AtomicEnergy, ChargeFlow, Multipoles
from eqmm_ase.settings_help import with_help


@with_help
@dataclass(frozen=True)
class ModelConfig:
    """Hyperparameters that fix the network's shape; plain values, stored in the model file."""

    elements: tuple[int, ...]
    """Atomic numbers the model knows, ascending; in the settings of a training, those of the data
    where empty."""
    cutoff: float = 5.0
    """QM–QM cutoff, Å."""
    l_expansion: int = 3
    """Highest order L of the expansion of the MM potential (0–4)."""
    l_hidden: int = 2
    """Highest order of the hidden features (1–4)."""
    channels: int = 24
    """Number of channels of every order l."""
    n_layers: int = 2
    """Number of message-passing layers."""
    n_radial: int = 8
    """Number of Bessel functions of the QM–QM distance; near-field kernels have n_near."""
    near_cutoff: float = 5.0
    """Cutoff of the near-field kernels, which resolve MM charges close to an atom, Å."""
    n_near: int = 8
    """Number of near-field kernels (Bessel functions of the QM–MM distance) per order; 0: none."""
    hidden: int = 64
    """Number of neurons in the hidden layers of the MLPs."""
    neutral: bool = False
    """Predicted charges sum to zero, not to the total charge; for delta-learning. Follows from
    data.baseline."""
    polarisable: bool = True
    """Features depend on the MM potential (polarisation). If false, the energy is linear in the MM
    charges."""
    multipoles: bool = True
    """Atoms carry dipoles and higher multipoles, not charges only."""
    long_range: bool = False
    """Electrostatics of QM atoms beyond the cutoff; a training step on them takes twice as long."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"elements": list(self.elements)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`."""
        return cls(**values | {"elements": tuple(values["elements"])})


class UnknownElementError(ValueError):
    """An element the model was not made for."""


class Energies(NamedTuple):
    """Energies and atomic charges of a batch: what one forward pass gives."""

    energy: torch.Tensor  # (F,) eV, float64
    charges: torch.Tensor  # (N,) e


class Layer(torch.nn.Module):
    """Message-passing layer: message, environment, product of the features with themselves, MLP."""

    def __init__(self, config: ModelConfig, first: bool) -> None:
        super().__init__()
        l_max, channels = config.l_hidden, config.channels
        kind = Density if first else Message
        self.message = kind(l_max, channels, config.n_radial, config.hidden)
        self.mix_message = PackedLinear(l_max, channels, channels, scale=0.5)
        if config.polarisable:
            self.environment = EnvironmentMix(config.l_expansion, config.n_near, channels)
            self.polarise = PackedProduct(l_max, config.l_expansion, l_max, channels)
            self.mix_polarised = PackedLinear(l_max, channels, channels, scale=0.5)
        self.many_body = PackedProduct(l_max, l_max, l_max, channels, symmetric=True)
        self.mix_many_body = PackedLinear(l_max, channels, channels, scale=0.5)
        self.invariants = InvariantUpdate(l_max, channels, config.hidden)

    def forward(
        self, features: torch.Tensor, edges: Edges, environment: torch.Tensor | None
    ) -> torch.Tensor:
        """(a, N, c) features (only (1, N, c) scalars in the first layer) → (a, N, c)."""
        if isinstance(self.message, Density):
            message = self.mix_message(self.message(features[0], edges))
            pad = (0, 0, 0, 0, 0, len(message) - len(features))
            features = torch.nn.functional.pad(features, pad) + message
        else:
            features = features + self.mix_message(self.message(features, edges))
        if environment is not None:
            polarised = self.polarise(features, self.environment(environment))
            features = features + self.mix_polarised(polarised)
        features = features + self.mix_many_body(self.many_body(features, features))
        return self.invariants(features)


class MultiscaleModel(torch.nn.Module):
    """Equivariant network for a QM region in the potential of MM charges."""

    atomic_energies: torch.Tensor
    energy_scale: torch.Tensor
    element_index: torch.Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        channels, n_elements = config.channels, len(config.elements)
        index = torch.full((119,), -1)
        index[list(config.elements)] = torch.arange(n_elements)
        self.register_buffer("element_index", index, persistent=False)
        self.register_buffer("atomic_energies", torch.zeros(n_elements, dtype=torch.float64))
        self.register_buffer("energy_scale", torch.tensor(1.0))

        self.geometry = EdgeGeometry(config.cutoff, config.n_radial, config.l_hidden)
        self.environment = EnvironmentFeatures(
            config.l_expansion, config.near_cutoff, config.n_near
        )
        self.embedding = torch.nn.Embedding(n_elements, channels)
        # Linear in Q and S−1, so that neutral singlets, together or apart, are all treated alike.
        self.conditioning = torch.nn.Linear(2, channels, bias=False)
        self.layers = torch.nn.ModuleList(
            Layer(config, first=i == 0) for i in range(config.n_layers)
        )
        self.charge_flow = ChargeFlow(channels, config.n_radial, config.hidden, config.neutral)
        self.multipoles = None
        if config.multipoles and config.l_expansion > 0:
            self.multipoles = Multipoles(config.l_hidden, config.l_expansion, channels)
        self.atomic_energy = AtomicEnergy(channels, config.hidden)
        self.long_range = None
        if config.long_range:
            self.long_range = LongRange(config.cutoff, config.l_expansion, n_elements)

    def set_statistics(
        self,
        atomic_energies: torch.Tensor,
        energy_scale: float,
        potential_scale: torch.Tensor,
        ion_charges: torch.Tensor | None = None,
    ) -> None:
        """Constants of the training data: of the elements, and the typical sizes of ε and C̃.

        Parameters
        ----------
        atomic_energies: (n_elements,) eV, in the order of `config.elements`.
        energy_scale: eV.
        potential_scale: (L+1,) V/Å^l.
        ion_charges: (n_elements,) e, of lone atoms; None leaves them as they are.
        """
        self.atomic_energies.copy_(torch.as_tensor(atomic_energies))
        self.energy_scale.fill_(energy_scale)
        self.environment.potential_scale.copy_(torch.as_tensor(potential_scale))
        if self.long_range is not None and ion_charges is not None:
            self.long_range.ion_charges.copy_(torch.as_tensor(ion_charges))

    def forward(self, frames: FrameBatch) -> Energies:
        """Energies of a batch; differentiable in positions, charges and weights.

        Raises
        ------
        UnknownElementError: names the element.
        """
        return self.in_potential(frames, expand(frames, self.config.l_expansion))

    def features(self, frames: FrameBatch) -> PrecomputedFeatures:
        """Precomputed features of a batch, outside the graph: what has no weights."""
        config = self.config
        environment = self.environment if config.polarisable else None
        return PrecomputedFeatures(frames, config.l_expansion, self.geometry, environment)

    def in_potential(
        self, frames: FrameBatch, tensors: torch.Tensor, neighbourhood: Neighbourhood | None = None
    ) -> Energies:
        """Energies of a batch in an MM potential that is expanded already.

        Parameters
        ----------
        tensors: (N, (L+1)²) V/Å^l, of the expansion about each QM atom.
        neighbourhood: edges and near field; made of the frames when None.
        """
        if neighbourhood is None:
            environment = self.environment if self.config.polarisable else None
            neighbourhood = Neighbourhood.of(frames, self.geometry, environment)
        elements = self.elements(frames.atomic_numbers)
        pairs = None if self.long_range is None else self.long_range.pairs(frames)
        if self.long_range is None or pairs is None:
            return self.network(elements, frames, tensors, neighbourhood)
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            if not tensors.requires_grad:
                tensors = tensors.detach().requires_grad_()
            formal = self.long_range.formal_charges(elements, neighbourhood.edges, frames)
            energy, charges = self.network(elements, frames, tensors, neighbourhood, formal)
            (multipoles,) = torch.autograd.grad(energy.sum(), tensors, create_graph=wanted)
        if not wanted:
            energy, charges = energy.detach(), charges.detach()
        energy = energy + self.long_range(multipoles, frames, pairs)
        return Energies(energy, charges)

    def network(
        self,
        elements: torch.Tensor,
        frames: FrameBatch,
        tensors: torch.Tensor,
        neighbourhood: Neighbourhood,
        formal: torch.Tensor | None = None,
    ) -> Energies:
        """All but the interaction of distant atoms; no operation depends on values.

        Parameters
        ----------
        elements: `elements` of the frames.
        tensors, neighbourhood: as `in_potential`.
        formal: (N,) charges of lone ions, e; None for zeros.
        """
        owner = frames.qm_frame_index()
        edges, near = neighbourhood
        environment = None if near is None else self.environment(tensors, near, edges)

        state = torch.stack([frames.total_charge, frames.spin_multiplicity - 1.0], dim=1)
        features = (
            self.embedding(elements) + self.conditioning(state).index_select(0, owner)
        ).unsqueeze(0)
        for layer in self.layers:
            features = layer(features, edges, environment)

        charges = self.charge_flow(features[0], edges, frames, formal)
        interaction = charges * tensors[:, 0]
        if self.multipoles is not None:
            multipoles = self.multipoles(features).T
            interaction = interaction + (multipoles * tensors[:, 1:]).sum(1)
        atomic = self.energy_scale * self.atomic_energy(features[0]) + interaction
        # The offsets are 10³ times the interaction: they need float64.
        atomic = atomic.double() + self.atomic_energies.index_select(0, elements)
        energy = atomic.new_zeros(frames.n_frames).index_add(0, owner, atomic)
        return Energies(energy, charges)

    def elements(self, atomic_numbers: torch.Tensor) -> torch.Tensor:
        """Row of each atom's element in the tables of the network, (N,).

        Raises
        ------
        UnknownElementError: names the element.
        """
        elements = self.element_index[atomic_numbers]
        if (elements < 0).any():
            from ase.data import chemical_symbols

            unknown = sorted({int(z) for z in atomic_numbers[elements < 0]})
            raise UnknownElementError(
                f"the model knows {', '.join(chemical_symbols[z] for z in self.config.elements)} "
                f"but was given {', '.join(chemical_symbols[z] for z in unknown)}; "
                "train it on data with these elements"
            )
        return elements
