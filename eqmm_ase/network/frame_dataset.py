"""From frames to batches: everything becomes a tensor once, and batches are laid end to end.

No padding and no cutoff here: a batch of small and large frames costs what its frames cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import Frames

CHARGE_PREFERENCE = ("mbis", "resp", "chelpg", "hirshfeld", "lowdin", "mulliken")
"""Which charges to train on where a dataset has several: the ones that describe the potential."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Reference labels of F frames with N QM atoms and K MM charges; NaN where not known."""

    energy: torch.Tensor  # (F,) float64, eV
    qm_forces: torch.Tensor  # (N, 3) eV/Å
    mm_forces: torch.Tensor  # (K, 3) eV/Å
    mm_potential: torch.Tensor  # (K,) V
    charges: torch.Tensor  # (N,) e
    dipole: torch.Tensor  # (F, 3) e·Å


@dataclass(frozen=True, eq=False)
class Batch:
    """Frames with their labels, their media and their places in the dataset."""

    frames: Frames
    labels: Labels
    medium: torch.Tensor  # (F,) int64, index into the dataset's `media`
    index: torch.Tensor  # (F,) int64

    def to(self, device: torch.device | str) -> Batch:
        """Copy to another device; row pointers stay on the CPU."""
        labels = {f.name: getattr(self.labels, f.name).to(device) for f in fields(Labels)}
        return Batch(
            self.frames.to(device),
            Labels(**labels),
            self.medium.to(device),
            self.index.to(device),
        )


class FrameDataset(Dataset[Batch]):
    """Frames as tensors; item i is a batch of one frame.

    Parameters
    ----------
    frames
        What to hold.
    charge_scheme
        Which of the frames' charges are the label; None for none.
    dtype
        Of all reals but the energy, which is float64.
    media
        Names of the media in a fixed order; those of the frames when None.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        charge_scheme: str | None = None,
        dtype: torch.dtype = torch.float32,
        media: Sequence[str] | None = None,
    ) -> None:
        self.media = tuple(media or sorted({frame.medium for frame in frames}))
        self.frame_ids = tuple(frame.frame_id or f"number {i}" for i, frame in enumerate(frames))
        number = {medium: i for i, medium in enumerate(self.media)}
        self._items = [
            Batch(
                Frames.from_frames([frame], dtype),
                _labels(frame, charge_scheme, dtype),
                torch.tensor([number[frame.medium]]),
                torch.tensor([i]),
            )
            for i, frame in enumerate(frames)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Batch:
        return self._items[index]


def collate(batches: Sequence[Batch]) -> Batch:
    """Lay batches end to end; tensors of zero length (gas-phase frames) included."""
    return Batch(
        _collate_frames([batch.frames for batch in batches]),
        Labels(
            **{
                f.name: torch.cat([getattr(batch.labels, f.name) for batch in batches])
                for f in fields(Labels)
            }
        ),
        torch.cat([batch.medium for batch in batches]),
        torch.cat([batch.index for batch in batches]),
    )


class RoundSampler(Sampler[list[int]]):
    """Batches of one round of training, a pure function of the seed and the step.

    The data are gone through again and again, shuffled anew each time, and cut into rounds of a
    fixed number of steps, however many frames there are. Because nothing depends on what was
    drawn before, training that is resumed sees the same batches as training that ran through.
    Frames that do not fill a last batch wait for the next shuffling.

    Parameters
    ----------
    n_frames
        Frames to draw from.
    batch_size
        Frames per batch and process; all frames where there are fewer.
    steps_per_round
        Length of a round.
    seed
        Of the shuffling.
    first_step
        Tells how many steps were taken before the round that begins. Asked and not counted here:
        the trainer may begin a round in the middle of a training.
    rank, world_size
        This process among those that train together; each takes its own part of the permutation.
    """

    def __init__(
        self,
        n_frames: int,
        batch_size: int,
        steps_per_round: int,
        seed: int,
        first_step: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size = min(batch_size, max(n_frames // world_size, 1))
        self.n_frames, self.seed = n_frames, seed
        self.steps_per_round = steps_per_round
        self.rank, self.world_size = rank, world_size
        self.first_step = first_step

    def __len__(self) -> int:
        return self.steps_per_round

    def __iter__(self) -> Iterator[list[int]]:
        first = self.first_step()
        return (self.batch(step) for step in range(first, first + self.steps_per_round))

    def batch(self, step: int) -> list[int]:
        """Frame numbers of the batch of a step."""
        per_step = self.batch_size * self.world_size
        per_pass = max(self.n_frames // per_step, 1)
        shuffled = _permutation(self.seed, step // per_pass, self.n_frames)
        first = (step % per_pass) * per_step + self.rank * self.batch_size
        return [int(i) for i in shuffled[first : first + self.batch_size]]


@lru_cache(maxsize=2)
def _permutation(seed: int, number: int, n_frames: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(n_frames)


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


def _labels(frame: Frame, charge_scheme: str | None, dtype: torch.dtype) -> Labels:
    def known(value: object, shape: tuple[int, ...], dtype: torch.dtype = dtype) -> torch.Tensor:
        if value is None:
            return torch.full(shape, torch.nan, dtype=dtype)
        return torch.as_tensor(np.array(value, dtype=np.float64)).to(dtype).reshape(shape)

    scheme = None if charge_scheme is None else frame.charges.get(charge_scheme)
    return Labels(
        energy=known(frame.energy, (1,), torch.float64),
        qm_forces=known(frame.qm_forces, (frame.n_qm, 3)),
        mm_forces=known(frame.mm_forces, (frame.n_mm, 3)),
        mm_potential=known(frame.mm_potential, (frame.n_mm,)),
        charges=known(scheme, (frame.n_qm,)),
        dipole=known(frame.dipole, (1, 3)),
    )


def _collate_frames(parts: Sequence[Frames]) -> Frames:
    def pointers(name: str) -> torch.Tensor:
        sizes = torch.cat([getattr(part, name).diff() for part in parts])
        return torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])

    flat = {
        f.name: torch.cat([getattr(part, f.name) for part in parts])
        for f in fields(Frames)
        if f.name not in ("qm_ptr", "mm_ptr")
    }
    return Frames(**flat, qm_ptr=pointers("qm_ptr"), mm_ptr=pointers("mm_ptr"))
