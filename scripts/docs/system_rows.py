"""Rows of the tables of whole systems on the page of benchmarks."""

from __future__ import annotations

from scripts.docs.result_rows import Content, Rows, number


def system_cost(content: Content) -> Rows:
    """Rows of the table of ``system_cost.json``."""
    for row in content["systems"]:
        times = number(row["classical_ms"], 3), number(row["with_network_ms"], 3)
        yield [row["solute"], _spaced(row["atoms"]), *times, number(row["ratio"], 3)]


def system_speed(content: Content) -> Rows:
    """Rows of the table of ``system_speed.json``."""
    for row in content["rows"]:
        yield [row["potential"], number(row["ms"], 3), number(row["ns_per_day"], 2)]


def system_nve(content: Content) -> Rows:
    """Rows of the tables of ``system_nve.json`` and its kin."""
    time = number(content["settings"]["time"])
    for name, run in content["runs"].items():
        drift = f"{_signed(run['drift_meV_per_ps'])} ± {number(run['standard_error'])}"
        yield [name, time, drift, number(run["fluctuation_meV"], 3)]


def time_steps(content: Content) -> Rows:
    """Rows of the table of ``time_steps.json``."""
    for run in content["runs"]:
        way = [number(run[name], 3) for name in ("hydrogen_mass", "step", "network", "classical")]
        if "blown_up" in run:
            yield [*way, "blows up", ""]
            continue
        drift = f"{_signed(run['drift_meV_per_ps'])} ± {number(run['standard_error'])}"
        yield [*way, drift, number(run["fluctuation_meV"], 3)]


def truth_changes(content: Content) -> Rows:
    """Rows of the table of what changes, of ``system_truth_sn2.json`` and its kin."""
    for radius, change in content["figures"]["changes"].items():
        for name, unit in (("energy", "kcal/mol"), ("qm_forces", "kcal/mol/Å")):
            found = (change["labels"][name], change["model_minus_labels"][name])
            relative = f"{number(100 * change['relative'][name])} %"
            what = "energy" if name == "energy" else "QM forces"
            yield [f"{radius} Å", f"{what}, {unit}", *map(number, found), relative]


def truth_errors(content: Content) -> Rows:
    """Rows of the table of errors, of ``system_truth_sn2.json`` and its kin."""
    for name, errors in content["figures"]["errors"].items():
        where = name if name.startswith("box") else f"cluster of {name} Å"
        yield [where, number(errors["energy"]), number(errors["qm_forces"])]


def long_run(content: Content) -> Rows:
    """Rows of the table of ``system_long_run.json``."""
    parts = {"all frames": "all", "first half": "first_half", "second half": "second_half"}
    for name, key in parts.items():
        found = content["errors"][key]
        yield [name, number(found["energy"]), number(found["qm_forces"])]


def saddle(content: Content) -> Rows:
    """Rows of the table of ``system_saddle.json``."""
    gas, rounds = content["gas"], content["rounds"]
    yield ["gas", *_bonds(gas["bonds"]), number(gas["barrier_kcal_per_mol"], 3)]
    for count, row in enumerate(rounds, 1):
        bonds, barrier = _bonds(row["saddle"]["bonds"]), number(row["barrier"], 3)
        yield [f"relaxed water, round {count}", *bonds, barrier]


def _bonds(lengths: list[float]) -> list[str]:
    """The longer one first: which chlorine leaves is a matter of the water."""
    return [f"{length:.2f}" for length in sorted(lengths, reverse=True)]


def system_checks(content: Content) -> Rows:
    """Rows of the table of ``system_real.json``: what must hold to rounding."""
    for row in content["systems"]:
        errors = {
            kind: max(found["network"], found["all"]) for kind, found in row["forces"].items()
        }
        worst = max(errors, key=lambda kind: errors[kind])
        found = row["ledger_error"], row["net_force_network"], errors[worst]
        yield [row["system"], _spaced(row["atoms"]), *(number(x, 1) for x in found), worst]


def system_runs(content: Content) -> Rows:
    """Rows of the table of runs in ``system_real.json``."""
    for row in content["systems"]:
        yield [
            row["system"],
            number(row["ps"]),
            *(number(row["temperature"], 3), number(row["largest_force"])),
            *(number(row[name], 3) for name in ("ms", "ms_classical", "ratio")),
            str(row["memory_MB"]),
        ]


def _spaced(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def _signed(value: float) -> str:
    return number(value) if value < 0 else f"+{number(value)}"
