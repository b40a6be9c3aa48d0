"""Which frames to train on and which to validate on, and which of their charges to learn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from eqmm_ase.data.frame import Frame

CHARGE_PREFERENCE = ("mbis", "resp", "chelpg", "hirshfeld", "lowdin", "mulliken")
"""Which charges to train on where a dataset has several: the ones that describe the potential."""


def choose_charge_scheme(frames: Sequence[Frame], wanted: str | None = None) -> str | None:
    """Name of the charges to train on, or None where no frame has any.

    Parameters
    ----------
    frames
        Those to train on.
    wanted
        A scheme; None takes the one that most frames have, of several the first of
        `CHARGE_PREFERENCE`.

    Raises
    ------
    ValueError
        When the wanted scheme does not occur; the sentence names those that do.
    """
    counts: dict[str, int] = {}
    for frame in frames:
        for scheme in frame.charges:
            counts[scheme] = counts.get(scheme, 0) + 1
    if wanted is not None:
        if wanted not in counts:
            known = ", ".join(sorted(counts)) or "none"
            raise ValueError(f"no frame has charges of the scheme {wanted!r}; known here: {known}")
        return wanted
    order = [*CHARGE_PREFERENCE, *sorted(set(counts) - set(CHARGE_PREFERENCE))]
    known_schemes = [scheme for scheme in order if scheme in counts]
    return max(known_schemes, key=lambda scheme: counts[scheme], default=None)


def split(frames: Sequence[Frame], fraction: float, seed: int) -> tuple[list[int], list[int], str]:
    """Choose the frames to validate on.

    Frames of one trajectory resemble each other, so whole trajectories are held out where there are
    at least three; otherwise frames are drawn at random.

    Parameters
    ----------
    frames
        All labelled frames.
    fraction
        Wanted share of validation frames, 0 to 1.
    seed
        Of the draw.

    Returns
    -------
    training, validation : list of int
        Ascending frame numbers.
    how : str
        One phrase for the user.
    """
    rng = np.random.default_rng([seed, 1])
    wanted = fraction * len(frames)
    sources = sorted({frame.source for frame in frames})
    if fraction == 0 or len(frames) < 2:
        return list(range(len(frames))), [], "no validation"
    if len(sources) < 3:
        count = min(max(math.floor(wanted + 0.5), 1), len(frames) - 1)
        held = {int(i) for i in rng.permutation(len(frames))[:count]}
        how = "drawn at random"
    else:
        chosen = _choose_sources(frames, sources, wanted, rng)
        held = {i for i, frame in enumerate(frames) if frame.source in chosen}
        how = f"{len(chosen)} of {len(sources)} trajectories"
    training = [i for i in range(len(frames)) if i not in held]
    return training, sorted(held), how


def _choose_sources(
    frames: Sequence[Frame], sources: Sequence[str], wanted: float, rng: np.random.Generator
) -> set[str]:
    sizes = dict.fromkeys(sources, 0)
    for frame in frames:
        sizes[frame.source] += 1
    chosen: set[str] = set()
    total = 0
    for source in (sources[i] for i in rng.permutation(len(sources))):
        closer = abs(total + sizes[source] - wanted) < abs(total - wanted)
        if closer and len(chosen) < len(sources) - 1:
            chosen.add(source)
            total += sizes[source]
    return chosen or {min(sources, key=lambda source: sizes[source])}
