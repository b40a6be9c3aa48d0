"""Start a training from the weights of a model file: another system, another level of theory.

Everything that gives the weights their meaning is kept: the network's shape, and the scales of
energies and potentials. What a level of theory shifts by electronvolts, the energy per element, is
fitted anew to what the network leaves of the new energies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from eqmm_ase.data.frame import Frame
from eqmm_ase.data.level_of_theory import different_level, method_of
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import members_of
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.model_file import load_model
from eqmm_ase.training.config import ConfigError, DataConfig, OptimizerConfig, TrainConfig
from eqmm_ase.training.scales import fit_atomic_energies, fit_ion_charges


@dataclass(frozen=True)
class Start:
    """Model that a training starts from (fine-tuning)."""

    path: Path
    model: MultiscaleModel
    card: dict[str, Any]
    sha256: str
    """Of the whole file."""

    @classmethod
    def of_members(cls, path: str | os.PathLike[str]) -> list[Start]:
        """Load a model file: a start for each member of a committee, or the one of a single model.

        Raises
        ------
        ModelFileError, FileNotFoundError
            As `load_model`.
        """
        model, card = load_model(path)
        sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return [cls(Path(path), member, card, sha256) for member in members_of(model)]

    def settings(self) -> TrainConfig:
        """Default settings of a training that starts here: the file's network, gentler steps."""
        return TrainConfig(
            data=DataConfig(baseline=self.model.config.neutral),
            model=replace(self.model.config, elements=()),
            optimizer=OptimizerConfig(learning_rate=LEARNING_RATE),
        )

    def other_level(self, method: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> str:
        """A note where the file was trained on another level of theory; else empty."""
        wanted = {**method, **({} if baseline is None else {"baseline": baseline})}
        difference = different_level(method_of(self.card), wanted)
        return difference and (
            f"note: the training starts from a model of another level of theory: {self.path} was "
            f"trained on {difference} as these data"
        )

    def refuse_other_network(self, wanted: ModelConfig) -> None:
        """Refuse settings of a network of another shape than the file's; elements may differ.

        Raises
        ------
        ConfigError
            Names the setting, what it is and what the file has.
        """
        for field in fields(ModelConfig):
            found, given = getattr(self.model.config, field.name), getattr(wanted, field.name)
            if field.name != "elements" and given != found:
                # Which charges sum to zero is said by the data.
                name = "data.baseline" if field.name == "neutral" else f"model.{field.name}"
                raise ConfigError(
                    f"setting {name} is {given}; expected {found} as in {self.path}, "
                    "since a training that starts from a model keeps its network"
                )

    def model_for(self, frames: Sequence[Frame], elements: tuple[int, ...]) -> MultiscaleModel:
        """Make the model that goes on with the file's weights on other frames.

        Elements that the file knows keep their row of the embedding, others get a random one, and
        those without a training frame go: nothing would tell their energy at the new level.

        Parameters
        ----------
        frames
            Training frames.
        elements
            Atomic numbers of these, ascending.

        Returns
        -------
        MultiscaleModel
            In float32, with energies per element fitted to the frames.
        """
        model = MultiscaleModel(replace(self.model.config, elements=elements))
        weights = {
            name: t for name, t in self.model.state_dict().items() if name not in _BY_ELEMENT
        }
        model.load_state_dict(weights, strict=False)
        known = [z for z in elements if z in self.model.config.elements]
        with torch.no_grad():
            model.embedding.weight[model.element_index[known]] = self.model.embedding.weight[
                self.model.element_index[known]
            ].to(model.embedding.weight.dtype)
            left = [_without_network(f, model) for f in frames if f.energy is not None]
            model.atomic_energies.copy_(torch.from_numpy(fit_atomic_energies(left, elements)))
            if model.long_range is not None:
                ions = fit_ion_charges(frames, elements, model.config.cutoff)
                model.long_range.ion_charges.copy_(torch.from_numpy(ions))
        return model

    def for_card(self) -> dict[str, Any]:
        """What the new model's card says about its origin."""
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "method": self.card.get("method", {}),
            "training_set_hash": self.card.get("training_set_hash"),
            "note": "method, domain and metrics of this card are those of the new data alone",
        }


LEARNING_RATE = 2e-3
"""From B3LYP/6-31G* to 20 frames of HF/STO-3G in 300 steps, methanol in water, mean absolute errors
of energy and QM forces in kcal/mol(/Å): 0.38 and 2.1; with 5e-3, the default from scratch, 0.41 and
2.2; with 5e-4, 0.42 and 2.2; from scratch 0.98 and 5.4 (`scripts/results/fine_tuning.json`)."""

_BY_ELEMENT = ("embedding.weight", "atomic_energies", "long_range.ion_charges")


def _without_network(frame: Frame, model: MultiscaleModel) -> Frame:
    """The frame with what the network leaves of its energy; energies per element must be zero."""
    assert frame.energy is not None
    network = model(FrameBatch.from_frames([frame], torch.float32)).energy
    return replace(frame, energy=frame.energy - float(network))
