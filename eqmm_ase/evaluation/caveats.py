"""What stands against comparing a model with labels, in sentences to be read before the figures.

A network answers for any molecule of its elements. Errors on molecules, charges or a level of
theory that it never saw say nothing of how good it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eqmm_ase.data.checks import squared_distances
from eqmm_ase.data.dataset_format import DatasetError
from eqmm_ase.data.fingerprints import among, fingerprints, from_text
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.level_of_theory import different_level, level_of, method_of, named, spoken
from eqmm_ase.uncertainty.contacts import deepest_contact
from eqmm_ase.uncertainty.domain import Domain, DomainError


def refuse_unlabelled(frames: Sequence[Frame], path: Path) -> None:
    """Refuse frames of which none has a label.

    Raises
    ------
    DatasetError
        Names the file.
    """
    if frames and not any(map(_is_labelled, frames)):
        raise DatasetError(
            f"{path} is not labelled: none of its {len(frames)} frames has an energy, forces, "
            "potential, charges or dipole; `eqmm-datagen label` computes them"
        )


def caveats(
    frames: Sequence[Frame], method: Mapping[str, Any], card: Mapping[str, Any], path: Path
) -> list[str]:
    """Warnings of frames out of a model's domain, and of labels of another level of theory.

    Parameters
    ----------
    frames, method
        Of the dataset.
    card
        Of the model.
    path
        The dataset file, to name it.

    Returns
    -------
    list of str
        One sentence for each kind of difference, with the number of frames that have it.
    """
    found = [_about_level(method, method_of(card), path), _about_doubles(frames, card)]
    domain = Domain.from_dict(card.get("domain", {}))
    counts = Counter(reason for frame in frames for reason in _outside(frame, domain))
    found += [
        f"{count} of {len(frames)} frames are outside what the model was trained on: {reason}"
        for reason, count in counts.items()
    ]
    near = [contact for frame in frames if (contact := _contact(frame, domain))]
    if near and domain.closest_mm is not None:
        _, sentence = min(near)
        found.append(
            f"{len(near)} of {len(frames)} frames are outside what the model was trained on: "
            f"in one, {sentence}"
        )
    return [sentence for sentence in found if sentence]


def _about_level(method: Mapping[str, Any], learned: Mapping[str, Any], path: Path) -> str:
    stated, known = (named(level_of(m)) for m in (method, learned))
    if not stated:
        told = f"; the model learned {spoken(learned)}" if known else ""
        return f"{path} does not say at which level of theory it was labelled{told}"
    if not known:
        return (
            f"the model does not say which level of theory it learned; {path} is {spoken(method)}"
        )
    difference = different_level(method, learned)
    return (
        f"{path} was labelled with {difference} as the model's training set; the errors compare "
        "two levels of theory"
        if difference
        else ""
    )


def _about_doubles(frames: Sequence[Frame], card: Mapping[str, Any]) -> str:
    learned = from_text(card.get("training_fingerprints", ""))
    doubles = int(among(fingerprints(frames), learned).sum())
    return (
        f"the model was trained on {doubles} of the {len(frames)} frames, so that errors on them "
        "say nothing about other frames"
        if doubles
        else ""
    )


def _outside(frame: Frame, domain: Domain) -> list[str]:
    region = (
        np.asarray(frame.atomic_numbers),
        int(frame.total_charge),
        int(frame.spin_multiplicity),
    )
    try:
        domain.refuse_state(*region)
    except DomainError as error:
        return [str(error).partition(";")[0]]  # what to set is advice for the calculator
    return list(domain.out_of_domain(*region).values())


def _contact(frame: Frame, domain: Domain) -> tuple[float, str] | None:
    """The deepest contact: its distance over that of training, and a sentence."""
    qm, mm = (np.asarray(x, np.float64) for x in (frame.qm_positions, frame.mm_positions))
    numbers, charges = np.asarray(frame.atomic_numbers), np.asarray(frame.mm_charges, np.float64)
    contact = deepest_contact(squared_distances(qm, mm), numbers, charges, domain)
    if contact is None or contact.closest is None:
        return None
    return contact.distance / contact.closest, contact.sentence(numbers, charges)


def _is_labelled(frame: Frame) -> bool:
    labels = (frame.energy, frame.qm_forces, frame.mm_forces, frame.mm_potential, frame.dipole)
    return any(label is not None for label in labels) or bool(frame.charges)
