"""Delta-learning: the labels are what a cheaper method, the baseline, leaves to be explained.

A dataset may hold labels by two methods: its own and, under ``baseline/``, those of a cheaper one.
A model trained on the difference is smoother and needs fewer frames; it is used together with the
cheaper method, whose energy and forces are added to its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eqmm_ase.data.dataset_format import BASELINE, DatasetError
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.level_of_theory import spoken
from eqmm_ase.data.quantities import QUANTITIES


def difference(frame: Frame) -> Frame:
    """The frame with label − baseline as labels.

    Labels that only one of the methods gave are not known, and neither are charges and dipole.

    Raises
    ------
    DatasetError
        When the frame has neither the energy nor the QM forces of the baseline.
    """
    if not frame.baseline.keys() & {"energy", "qm_forces"}:
        raise DatasetError(
            f"frame {frame.frame_id} has no energy or QM forces of a baseline; expected both "
            "methods to have labelled it (eqmm-datagen merge --baseline puts them together)"
        )
    unknown: dict[str, Any] = {"energy_vacuum": None, "baseline": {}}
    for name, quantity in QUANTITIES.items():
        if not quantity.of_difference:
            unknown[name] = {} if quantity.by_scheme else None
    return replace(frame, **unknown, **{name: _left(frame, name) for name in BASELINE})


def other_calculator(card: Mapping[str, Any]) -> str:
    """Which calculator a model is for, to whom gave it to the other one: half a sentence."""
    if "baseline" not in card:
        return "predicts energies and no differences; use EqMM without baseline"
    return (
        f"predicts differences from {spoken(card['baseline'])}, not energies; "
        "use eqmm_ase.calculator.delta.DeltaEqMM, which adds that method's answer"
    )


def _left(frame: Frame, name: str) -> Any:
    label, baseline = getattr(frame, name), frame.baseline.get(name)
    return None if label is None or baseline is None else label - baseline
