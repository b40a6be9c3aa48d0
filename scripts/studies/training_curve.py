"""How errors fall with the time a training takes, beside those of other networks on the same files.

    python -m scripts.studies.training_curve methanol_train.h5 methanol_test.h5 \
        -o scripts/results/training_curve.json --plot scripts/images/training_curve.png

The default network is trained on all frames of the first file, each time from the beginning and
with another number of steps, in which the learning rate goes to zero; the errors are those on the
second file. Seconds are CPU seconds of one core, all of the training. A run that was killed goes on
with the training it was at. About half an hour of one core for 300 frames of methanol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData
from eqmm_ase.network.model_file import load_model
from scripts.common import text_table
from scripts.pictures import GREY, few, picture
from scripts.studies.cells import Cell, Cells, errors, study_parser, trained

STEPS = (10000, 1000, 5000, 2500)
"""In the order of training; the first is the default of ``eqmm train``."""
SETTINGS = ["hardware.accelerator=cpu"]


class Peer(NamedTuple):
    """Another network, trained on one core on 300 frames of methanol and tested on 100 others."""

    seconds: float
    energy_mae: float
    qm_forces_mae: float
    mm_forces_relative_rms: float


PEERS = {
    "AMP": Peer(400, 0.087, 0.38, 0.026),
    "FieldMACE": Peer(570, 0.44, 0.80, 0.10),
    "vacuum network + charges": Peer(186, 0.69, 1.07, 0.16),
}
"""AMP with a detached feature attached again, without which its forces are not the gradient of its
energy; FieldMACE with its expansion per atom. From one comparison on the files of the example."""
FIGURES = {
    "energy_mae": "energy, kcal/mol",
    "qm_forces_mae": "QM forces, kcal/mol/Å",
    "mm_forces_relative_rms": "MM forces, relative RMS",
}
SECONDS = (50, 100, 200, 500)
"""Ticks."""
MARKERS = ("s", "^", "D")


def table(cells: Mapping[str, Cell], peers: Mapping[str, Peer]) -> str:
    """A line per training and per peer."""
    columns = [("", ""), ("CPU s", ".0f"), ("E", ".3f"), ("F(QM)", ".3f"), ("F(MM)", ".2%")]
    own = {name: _row(cell) for name, cell in sorted(cells.items(), key=_seconds)}
    return text_table(columns, [(name, *row) for name, row in {**own, **peers}.items()])


def _seconds(item: tuple[str, Cell]) -> float:
    return float(item[1]["cpu_seconds"])


def _row(cell: Cell) -> Peer:
    return Peer(cell["cpu_seconds"], *(cell["errors"][key] for key in FIGURES))


def plot(cells: Mapping[str, Cell], peers: Mapping[str, Peer], path: Path) -> None:
    """Errors against CPU seconds on logarithmic axes."""
    with picture(path, 10, 3.5) as figure:
        axes = figure.subplots(1, len(FIGURES))
        for axis, (key, title) in zip(axes, FIGURES.items(), strict=True):
            _curve(axis, [_row(cell) for cell in cells.values()], peers, key)
            axis.set_xlabel("CPU seconds of training")
            axis.set_ylabel(title)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)


def _curve(axis: Axes, rows: Sequence[Peer], peers: Mapping[str, Peer], key: str) -> None:
    rows = sorted(rows)
    axis.loglog([r.seconds for r in rows], [getattr(r, key) for r in rows], "o-", label="EqMM")
    for marker, (name, peer) in zip(MARKERS, peers.items(), strict=False):
        axis.loglog(peer.seconds, getattr(peer, key), marker, color=GREY, label=name)
    axis.set_xticks(SECONDS, [str(seconds) for seconds in SECONDS])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_minor_formatter(few)
    axis.yaxis.set_major_formatter("{x:g}")


def _is_example(train: Sequence[Frame], test: Sequence[Frame]) -> bool:
    """Whether these are the frames that the peers were trained and tested on."""
    return (len(train), len(test), sorted(test[0].atomic_numbers)) == (300, 100, [1] * 4 + [6, 8])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing; print the table and draw the plot after each training."""
    parser = study_parser(__doc__)
    parser.add_argument("train", type=Path, help="dataset file to train on")
    parser.add_argument("test", type=Path, help="dataset file to test on")
    parser.add_argument("--plot", type=Path, help="PNG file to write")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of each training")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of every length")
    options = parser.parse_args(arguments)
    with ReferenceData(options.train) as data:
        frames, method = data.load(), data.method
    with ReferenceData(options.test) as data:
        test = data.load()
    peers = PEERS if _is_example(frames, test) else {}
    cells = Cells(options.output, {"n_frames": len(frames), "n_test_frames": len(test)})
    for seed, steps in product(range(options.seeds), options.steps):
        name = f"EqMM, {steps} steps" + (f", seed {seed}" if seed else "")
        if name not in cells:
            print(f"\n{name}", flush=True)
            settings = [*SETTINGS, f"training.max_steps={steps}", f"training.seed={seed}"]
            made, model = trained(frames, method, settings, options.models)
            found = errors(load_model(model)[0], {"test": test})["test"]
            cells.add(name, made | {"model": model.name, "errors": found})
        print(table(cells.cells, peers), flush=True)
        if options.plot:
            plot(cells.cells, peers, options.plot)


if __name__ == "__main__":
    main()
