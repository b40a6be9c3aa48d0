"""How a model does in a medium it has never seen.

    python -m scripts.studies.transfer -o scripts/results/transfer.json

The default network is trained on 1000 frames, in water alone, and in water and gas, and tested on
sweeps that were held out in all three media. A run that was killed goes on with the model it was
at. About ten minutes of one core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eqmm_ase.data.frame import Frame
from eqmm_ase.network.model_file import load_model
from scripts.common import text_table
from scripts.flagship.flagship_data import Flagship, load_flagship
from scripts.studies.cells import Cell, Cells, errors, study_parser, trained

N_FRAMES, IN_GAS, STEPS = 1000, 165, 6000
SETTINGS = [
    *("model.cutoff=8.0", "hardware.accelerator=cpu"),
    *("training.batch_size=5", f"training.max_steps={STEPS}"),
]
MEDIA = ("water", "methanol", "gas")


def training_sets(data: Flagship) -> dict[str, list[Frame]]:
    """What the models are trained on, by name: as many frames each."""
    with_gas = data.training(N_FRAMES - IN_GAS) + data.training(IN_GAS, ["gas"])
    return {"water": data.training(N_FRAMES), "water and gas": with_gas}


def table(cells: Mapping[str, Cell]) -> str:
    """A line per training set: errors of energy, also without their mean (E°), and QM forces."""
    columns = [("E", ".3f"), ("E°", ".3f"), ("F(QM)", ".3f")]
    keys = ("energy_mae", "energy_mae_centred", "qm_forces_mae")
    rows = [
        [name, *(cell["errors"][medium][key] for medium in MEDIA for key in keys)]
        for name, cell in cells.items()
    ]
    groups = [("", 1), *((medium, len(keys)) for medium in MEDIA)]
    return text_table([("trained in", ""), *columns * len(MEDIA)], rows, groups)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing; print the table after each model."""
    options = study_parser(__doc__).parse_args(arguments)
    data = load_flagship()
    tests = {medium: data.test(medium) for medium in MEDIA}
    cells = Cells(options.output, {"n_frames": N_FRAMES, "in_gas": IN_GAS, "steps": STEPS})
    for name, frames in training_sets(data).items():
        if name not in cells:
            made, model = trained(frames, data.method, SETTINGS, options.models)
            cells.add(
                name, made | {"model": model.name, "errors": errors(load_model(model)[0], tests)}
            )
        print(table(cells.cells), flush=True)


if __name__ == "__main__":
    main()
