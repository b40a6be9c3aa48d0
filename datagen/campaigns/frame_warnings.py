"""Which frames carry a warning, and why: of a campaign by its ledger, of a dataset by its frames.

A dataset file does not store warnings, since they follow from the frames: those of a file that was
merged, imported or labelled elsewhere are found as well, and so are those of frames that are yet to
be labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datagen.campaigns.ledger import LedgerReader
from datagen.campaigns.storage import from_bytes
from datagen.labels.overpolarisation import contact_warnings
from eqmm_ase.files.dataset_file import read_frames


@dataclass(frozen=True)
class WarnedFrame:
    """A frame and what is suspicious about it."""

    number: int
    """In the campaign or the dataset, from 0."""
    frame_id: str
    source: str
    """Its trajectory."""
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """A line for each warning."""
        name = ", ".join(part for part in (self.frame_id, self.source) if part)
        return [f"frame {self.number} ({name}): {warning}" for warning in self.warnings]


def warned_in_campaign(folder: Path) -> list[WarnedFrame]:
    """The labels of a campaign that carry a warning; it may be running.

    Raises
    ------
    CampaignError
        When there is no campaign.
    """
    with LedgerReader(folder / "ledger.sqlite") as ledger:
        return [
            WarnedFrame(
                number,
                row.frame_id,
                from_bytes(ledger.inputs(row.frame_id)).source,
                row.warnings,
            )
            for number, row in enumerate(ledger.rows())
            if row.state == "done" and row.warnings
        ]


def warned_in_dataset(path: Path) -> tuple[list[WarnedFrame], int]:
    """The frames of a dataset file that carry a warning, and how many there are in all.

    Raises
    ------
    DatasetError, FileNotFoundError
        When the file cannot be read.
    """
    frames = read_frames(path)
    found = [
        WarnedFrame(number, frame.frame_id, frame.source, warnings)
        for number, frame in enumerate(frames)
        if (warnings := contact_warnings(frame))
    ]
    return found, len(frames)


def listing(found: Sequence[WarnedFrame], n_frames: int) -> list[str]:
    """All of them in lines, with a count below."""
    lines = [line for frame in found for line in frame.lines()]
    return [*lines, f"{len(found)} of {n_frames} frames carry a warning"]
