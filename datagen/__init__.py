"""Reference data for EqMM: sample molecules in their surroundings, label them with PySCF.

===================  ==========================================================================
Method               level of theory and settings of the QM program
label_frame          energy, forces, potential, charges and dipole of one frame
LabelResult          labelled frame with SCF diagnostics, as `label_frame` returns it
label_frames         label many frames in worker processes; interrupted runs can go on
ReferenceCalculator  ASE calculator of the QM program in fixed MM point charges
===================  ==========================================================================

Names are imported on first use, so that ``import datagen`` needs no QM program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eqmm_ase.public_names import on_first_use

if TYPE_CHECKING:
    from datagen.campaigns.campaign import label_frames
    from datagen.labels.calculator import ReferenceCalculator
    from datagen.labels.method import Method
    from datagen.labels.single_point import LabelResult, label_frame

_HOME = {
    "LabelResult": "datagen.labels.single_point",
    "Method": "datagen.labels.method",
    "ReferenceCalculator": "datagen.labels.calculator",
    "label_frame": "datagen.labels.single_point",
    "label_frames": "datagen.campaigns.campaign",
}

__all__ = ["LabelResult", "Method", "ReferenceCalculator", "label_frame", "label_frames"]

__getattr__, __dir__ = on_first_use(__name__, _HOME)
