"""Split a dataset by trajectory: frames of one trajectory are too alike to test each other.

python scripts/split_dataset.py labels.h5 --hold-out water-6    # writes train.h5 and test.h5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eqmm_ase.reference_data import ReferenceData, write_frames


def split(labels: Path, hold_out: Sequence[str], train: Path, test: Path) -> tuple[int, int]:
    """Write two datasets; the test set gets the frames of the trajectories in `hold_out`.

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
    write_frames(train, kept, method)
    write_frames(test, held, method)
    return len(kept), len(held)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--hold-out", nargs="+", required=True, metavar="TRAJECTORY")
    parser.add_argument("--train", type=Path, default=Path("train.h5"))
    parser.add_argument("--test", type=Path, default=Path("test.h5"))
    chosen = parser.parse_args(arguments)
    try:
        n_train, n_test = split(chosen.labels, chosen.hold_out, chosen.train, chosen.test)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{chosen.train}: {n_train} frames; {chosen.test}: {n_test} frames")


if __name__ == "__main__":
    main()
