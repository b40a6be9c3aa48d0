"""Energy and all derivatives of a QM region in periodic or switched surroundings, images included.

    E = E_network(R; C, near field) + E_images(μ, R, cell),   μ = ∂E_network/∂C

C comes from `periodic.ewald` or `periodic.switched` and takes the place of the bare sum; the near
field is made of the images within its range. μ depends on all that the network takes, and so

    dE = dE_network + dE_images at fixed μ + v · dμ,   v = ∂E_images/∂μ,

where v · dμ is one more derivative of the network: exact, and no matrix of second derivatives is
ever made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from numpy.typing import ArrayLike

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.features import PrecomputedFeatures
from eqmm_ase.network.model import Energies, MultiscaleModel
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.network.traced import TracedModels, evaluated, gradients
from eqmm_ase.periodic.cell import Box, Images
from eqmm_ase.periodic.ewald import Ewald
from eqmm_ase.periodic.images import ImageInputs, ImageInteraction, image_energy
from eqmm_ase.periodic.switched import SwitchedCutoff
from eqmm_ase.tracing import Program


class Surroundings(Protocol):
    """What `EwaldExpansion` and `SwitchedExpansion` have in common."""

    tensors: torch.Tensor  # (N, (L+1)²) V/Å^l, a leaf tensor
    charges: torch.Tensor  # (K,) e

    def near_sites(self, distance: float) -> Images:
        """Images of all sites within a distance of any atom (Å), and some beyond it."""
        ...

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dC → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        ...

    def strain(self, grad: torch.Tensor) -> torch.Tensor:
        """dE/dC → dE/dε, (3, 3) eV."""
        ...


class PeriodicPrediction(NamedTuple):
    """What a model says of a QM region in its surroundings."""

    total: Prediction  # of E, mm_forces and mm_potential of all K sites
    image_energy: torch.Tensor  # () eV, float64: part of the energy
    strain: torch.Tensor | None  # (3, 3) eV: dE/dε where everything x becomes x (1 + ε)


class SurroundedFeatures(PrecomputedFeatures):
    """Precomputed features of a QM region in surroundings, with their chain rule.

    Parameters
    ----------
    region: one frame, in any precision; only its QM region counts.
    surroundings: of the same atoms, in the network's precision.
    model: any of those that will take the features.
    """

    def __init__(
        self, region: FrameBatch, surroundings: Surroundings, model: MultiscaleModel
    ) -> None:
        config = model.config
        environment = model.environment if config.polarisable else None
        self._surroundings = surroundings
        self._sites = surroundings.near_sites(config.near_cutoff if config.polarisable else 0.0)
        self.centre = region.qm_positions.detach().mean(0)
        atoms, sites = (
            (x.detach() - self.centre.to(x)).to(surroundings.tensors.dtype)
            for x in (region.qm_positions, self._sites.positions)
        )
        self.region = replace(
            region,
            qm_positions=atoms.requires_grad_(),
            mm_positions=sites,
            mm_charges=surroundings.charges[self._sites.index],
            mm_ptr=torch.tensor([0, len(sites)]),
            total_charge=region.total_charge.to(atoms),
            spin_multiplicity=region.spin_multiplicity.to(atoms),
        )
        elsewhere = _Elsewhere(surroundings, len(sites))
        super().__init__(self.region, config.l_expansion, model.geometry, environment, elsewhere)

    def pull_back(
        self, grads: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/d(feature) of every feature → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        near_atoms, near_sites, near_charges = super().pull_back(grads)
        atoms, sites, charges = self._surroundings.pull_back(grads[0])
        index = self._sites.index
        sites, charges = (
            far.index_add(0, index, near.to(far))
            for far, near in ((sites, near_sites), (charges, near_charges))
        )
        return atoms + near_atoms, sites, charges

    def strain(self, grads: Sequence[torch.Tensor]) -> torch.Tensor:
        """dE/d(feature) of every feature → dE/dε, (3, 3) eV."""
        atoms, sites, _ = super().pull_back(grads)
        local = self.region.qm_positions.T @ atoms + self.region.mm_positions.T @ sites
        return (local + self._surroundings.strain(grads[0])).detach()


class _Elsewhere:
    """An expansion whose chain rule is not that of the near sites."""

    def __init__(self, surroundings: Surroundings, n_near: int) -> None:
        self.tensors = surroundings.tensors
        self._n_near = n_near

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Nothing: it is done where all sites are."""
        n_near = self._n_near
        return self.atom_gradient(grad), grad.new_zeros(n_near, 3), grad.new_zeros(n_near)

    def atom_gradient(self, grad: torch.Tensor) -> torch.Tensor:
        """Nothing, likewise."""
        return grad.new_zeros(len(grad), 3)


def predict_surrounded(
    models: TracedModels,
    region: FrameBatch,
    surroundings: Surroundings,
    images: ImageInteraction | None = None,
    *,
    strain: bool = False,
) -> list[PeriodicPrediction]:
    """Energy and derivatives by several models of one configuration.

    Parameters
    ----------
    models: of the precision of the surroundings' tensors, as traced programs where they can.
    region: one frame; its charges, if any, are not looked at.
    surroundings: of the region's atoms.
    images: of the region in the same box; None leaves them out.
    strain: also the derivative with respect to the strain of everything.

    Raises
    ------
    UnknownElementError: names the element.
    ImagesTooNearError: an image of the region nearly touches it.
    """
    features = SurroundedFeatures(region, surroundings, models.models[0])
    if models.can_trace(features.region):
        return _predict_traced(models, features, images, strain)
    return [_predict(model, features, images, strain) for model in models.models]


def _predict_traced(
    models: TracedModels,
    features: SurroundedFeatures,
    images: ImageInteraction | None,
    strain: bool,
) -> list[PeriodicPrediction]:
    """By programs of network and images together."""
    region = features.region
    if images is None:
        each = models.derivatives(region, features)
        return [_assembled(features, out, grads, None, strain) for out, grads in each]
    atoms = _about_centre(region)
    found = models.run(energy_with_images, region, features, [atoms, *images.inputs(atoms)])
    return [
        _assembled(features, out, grads, _of_images(images, region, strain, *rest), strain)
        for out, grads, rest in found
    ]


def energy_with_images(model: MultiscaleModel, frames: FrameBatch) -> Program:
    """Energy of network and images, and derivatives, as a function to be traced.

    Its inputs are those of `energy_and_derivatives`, and behind them positions about the centre,
    (N, 3) Å float64, and `ImageInputs`. It returns energy and charges of the network, derivatives
    of the whole energy by the features, and of the images the energy, dE/dR at fixed μ, and μ.
    """

    def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        of_network, (atoms, *others) = inputs[:-_N_OTHERS], inputs[-_N_OTHERS:]
        with torch.enable_grad():
            features, out = evaluated(model, frames, *of_network)
            multipoles, of_images, atoms = _with_images(out, features[0], atoms, others)
            *grads, gradient = gradients(out.energy.sum() + of_images, [*features, atoms])
        results = *out, *grads, of_images, gradient, multipoles
        return tuple(tensor.detach() for tensor in results)

    return run


_N_OTHERS = 1 + len(ImageInputs._fields)


def _with_images(
    out: Energies, tensors: torch.Tensor, atoms: torch.Tensor, inputs: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """μ and E_images with their graphs, and the positions, a leaf of their own."""
    (multipoles,) = torch.autograd.grad(out.energy.sum(), tensors, create_graph=True)
    atoms = atoms.detach().requires_grad_()
    return multipoles, image_energy(multipoles.double(), atoms, ImageInputs(*inputs)), atoms


def _about_centre(region: FrameBatch) -> torch.Tensor:
    atoms = region.qm_positions.detach().double().cpu()
    return atoms - atoms.mean(0)


class _OfImages(NamedTuple):
    """E_images and its derivatives at fixed μ."""

    energy: torch.Tensor  # () eV
    gradient: torch.Tensor  # (N, 3) eV/Å
    strain: torch.Tensor | None  # (3, 3) eV


def _of_images(
    images: ImageInteraction,
    region: FrameBatch,
    strain: bool,
    energy: torch.Tensor,
    gradient: torch.Tensor,
    multipoles: torch.Tensor,
) -> _OfImages:
    """With the strain, where it is wanted."""
    by_strain = images(multipoles, region.qm_positions, strain=True).strain if strain else None
    return _OfImages(energy.detach(), gradient, by_strain)


def _predict(
    model: MultiscaleModel,
    features: SurroundedFeatures,
    images: ImageInteraction | None,
    strain: bool,
) -> PeriodicPrediction:
    """In one graph, whatever of the model takes positions directly."""
    region = features.region
    out = model.in_potential(region, features.tensors, features.neighbourhood)
    inputs, energy, found = [*features.all, region.qm_positions], out.energy.sum(), None
    if images is not None:
        atoms = _about_centre(region)
        multipoles, energy_of_images, atoms = _with_images(
            out, features.tensors, atoms, images.inputs(atoms)
        )
        energy, inputs = energy + energy_of_images, [*inputs, atoms]
    *grads, last = gradients(energy, inputs)
    if images is not None:
        found = _of_images(images, region, strain, energy_of_images, last, multipoles)
        *grads, last = grads
    return _assembled(features, out, grads, found, strain, last)


def _assembled(
    features: SurroundedFeatures,
    out: Energies,
    by_feature: Sequence[torch.Tensor],
    images: _OfImages | None,
    strain: bool,
    direct: torch.Tensor | None = None,
) -> PeriodicPrediction:
    """All derivatives of the energy of network and images, from those by the features.

    Parameters
    ----------
    direct: of the network on other ways than the features, dE/dR (N, 3).
    """
    region = features.region
    direct = torch.zeros_like(region.qm_positions) if direct is None else direct
    of_images, virial = out.energy.new_zeros(()), torch.zeros(3, 3, dtype=torch.float64)
    by_atom = direct
    if images is not None:
        of_images, by_atom = images.energy, direct + images.gradient.to(direct)
        virial = virial if images.strain is None else images.strain
    out = out._replace(energy=out.energy.detach() + of_images, charges=out.charges.detach())
    total = Prediction.of(region, features, out, by_feature, (by_atom, None, None))
    dipole = total.dipole + by_feature[0][:, 0].sum() * features.centre.to(total.dipole)
    if strain:
        virial = virial + features.strain(by_feature) + region.qm_positions.detach().T @ direct
    total = Prediction(total | {"dipole": dipole})
    return PeriodicPrediction(total, of_images, virial if strain else None)


class SurroundedModels:
    """Models of one configuration, to be asked again as a whole system moves.

    Parameters
    ----------
    models
        Of the precision of `surroundings`.
    surroundings
        How the charges act: all of a periodic box, or those within a switched cutoff.
    images
        Whether the periodic images of the QM region act on it.
    """

    def __init__(
        self,
        models: Sequence[MultiscaleModel],
        surroundings: Ewald | SwitchedCutoff,
        *,
        images: bool = True,
    ) -> None:
        self._models, self.surroundings, self._images = TracedModels(models), surroundings, images
        self._interaction: ImageInteraction | None = None

    def __call__(
        self,
        frames: FrameBatch,
        cell: ArrayLike | torch.Tensor | None,
        *,
        strain: bool = False,
    ) -> list[PeriodicPrediction]:
        """Predictions of all models.

        Parameters
        ----------
        frames: one frame, the QM region in one piece, in float64 or the models' precision.
        cell: lattice vectors as rows, (3, 3) Å; None for open boundaries, with a cutoff.
        strain: also the derivative with respect to the strain of everything.

        Raises
        ------
        UnknownElementError: names the element.
        BoxTooSmallError: the box is less than twice as wide as the cutoff.
        ImagesTooNearError: an image of the QM region nearly touches it.
        """
        positions = frames.qm_positions, frames.mm_positions
        expansion = self.surroundings.expansion(*positions, frames.mm_charges, cell)
        images = None if cell is None or not self._images else self._images_in(Box.of(cell))
        return predict_surrounded(self._models, frames, expansion, images, strain=strain)

    def _images_in(self, box: Box) -> ImageInteraction:
        last, config = self._interaction, self._models.models[0].config
        if last is None:
            last = ImageInteraction(box, config.l_expansion, config.cutoff)
        elif not torch.equal(last.box.cell, box.cell):
            last = last.at(box)
        self._interaction = last
        return last
