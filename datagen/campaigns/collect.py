"""From the results of a campaign to one dataset file; needs no lock, also while it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from datagen.campaigns.ledger import LedgerReader, Row
from datagen.campaigns.storage import read_result, result_path
from datagen.datasets.merge import merged_versions
from datagen.errors import CampaignError, DamagedResultsError, full_disk_is_a_sentence
from datagen.labels.method import Method
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.settings_reader import build


def collect_campaign(folder: Path, output: str | os.PathLike[str]) -> int:
    """Write all frames of a campaign that are done into one dataset file.

    Parameters
    ----------
    folder
        The campaign; it is not changed, and may be running.
    output
        The file; replaced in one step.

    Returns
    -------
    Number of frames written, in the order in which they were added. With none to write, no file
    is made.

    Raises
    ------
    CampaignError
        When there is no campaign, or results are damaged (`DamagedResultsError`).
    DiskFullError, OSError
        When the file cannot be written.
    """
    with LedgerReader(folder / "ledger.sqlite") as ledger:
        rows, method = ledger.rows(), method_of(ledger)
    return write_dataset(folder, rows, method, output)


def method_of(ledger: LedgerReader) -> Method:
    """The level of theory that a campaign was begun with.

    Raises
    ------
    CampaignError
        When it was killed before it could say so.
    """
    settings = ledger.known_fact("method")
    if settings is None:
        raise CampaignError("the campaign has no method yet; begin it with its first command")
    return build(Method(), settings)


def write_dataset(
    folder: Path, rows: Sequence[Row], method: Method, output: str | os.PathLike[str]
) -> int:
    """Write the frames of those rows that are done, as `collect_campaign` says."""
    rows = [row for row in rows if row.state == "done"]
    if not rows:
        return 0
    read = (read_result(result_path(folder, row.frame_id), row.checksum or "") for row in rows)
    frames = [frame for frame in read if frame is not None]
    if len(frames) < len(rows):
        raise DamagedResultsError(
            f"{len(rows) - len(frames)} result files in {folder} are damaged; "
            "their frames wait to be computed again: run once more"
        )
    versions = merged_versions([row.versions for row in rows])
    with full_disk_is_a_sentence(Path(output)):
        write_frames(output, frames, {**method.as_dict(), "versions": versions})
    return len(frames)
