"""The command line of a package that predicts one quantity more: one row and one readout."""

from __future__ import annotations

from eqmm_ase.data.quantities import QUANTITIES, Quantity


def main() -> None:
    """Add the dipoles of the atoms, dE/dC^i_1, and run `eqmm`."""
    QUANTITIES["atomic_dipoles"] = Quantity(
        title="atomic dipoles",
        unit="e·Å",
        rows="qm",
        item=(3,),
        weight=0.0,
        meaning="Of the dipoles of the atoms.",
        quoted="e·Å",
        factor=1.0,
        resolution=1e-4,
        by_scheme=True,
    )
    # As if the row had always been there: everything else reads the table when it is imported.
    from eqmm_ase.cli import main as eqmm
    from eqmm_ase.network.prediction import READOUTS

    READOUTS["atomic_dipoles"] = lambda found: found.multipoles[:, 1:4]
    eqmm()


if __name__ == "__main__":
    main()
