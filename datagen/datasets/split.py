"""Split a dataset by trajectory: frames of one trajectory are too alike to test each other."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from eqmm_ase.data.fingerprints import among, fingerprints
from eqmm_ase.files.dataset_file import ReferenceData, write_frames


def split(
    labels: Path,
    hold_out: Sequence[str],
    train: Path,
    test: Path,
    say: Callable[[str], None] = lambda sentence: None,
) -> tuple[int, int]:
    """Write two datasets; the test set gets the frames of the trajectories in `hold_out`.

    `say` is told when frames of both are the same.

    Returns
    -------
    Number of training and of test frames.

    Raises
    ------
    ValueError
        When a trajectory does not exist or nothing is left to train on.
    """
    with ReferenceData.open(labels) as data:
        if strange := sorted(set(hold_out) - set(data.sources)):
            raise ValueError(
                f"{labels} has no trajectory {strange[0]!r}; it has {', '.join(data.sources)}"
            )
        frames, method = data.load(), data.method
    kept = [frame for frame in frames if frame.source not in hold_out]
    held = [frame for frame in frames if frame.source in hold_out]
    if not kept:
        raise ValueError(f"all frames of {labels} are held out; none is left to train on")
    if doubles := int(among(fingerprints(held), fingerprints(kept)).sum()):
        say(
            f"warning: {doubles} of the {len(held)} test frames are training frames as well; "
            f"`eqmm-datagen merge` leaves out doubles before a split"
        )
    write_frames(train, kept, method)
    write_frames(test, held, method)
    return len(kept), len(held)


def choose_sources(labels: Path, fraction: float, seed: int) -> list[str]:
    """Trajectories, drawn at random, that hold about this fraction of the frames.

    Drawing ends before the fraction would be exceeded, but not before there is one.

    Raises
    ------
    ValueError
        When there is but one trajectory, or the fraction is not between 0 and 1.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"the fraction to hold out is {fraction}; expected between 0 and 1")
    with ReferenceData.open(labels) as data:
        counts = Counter(frame.source for frame in data)
    if len(counts) < 2:
        raise ValueError(f"{labels} has one trajectory only; there is nothing to hold out")
    names = sorted(counts)
    random.Random(seed).shuffle(names)
    chosen = names[:1]
    for name in names[1:]:
        if sum(counts[n] for n in (*chosen, name)) > fraction * counts.total():
            break
        chosen.append(name)
    return sorted(chosen)
