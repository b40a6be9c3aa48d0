"""How each results file becomes a table of the page of benchmarks: its command and its rows.

A new result is a function of its rows, a row in `RESULTS` and a mark in the page
(`scripts.docs.figures`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Content = Mapping[str, Any]
Rows = Iterator[Sequence[str]]


@dataclass(frozen=True)
class Result:
    """A table: the command that made its figures, the heads of its columns, and its rows."""

    command: str
    head: tuple[str, ...]
    rows: Callable[[Content], Rows]


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FIGURE = ("figure", "value")
_ERRORS = ("energy, kcal/mol", "QM forces, kcal/mol/Å", "MM forces, %", "charges, e")
_CELLS = ("energy, kcal/mol", "QM forces, kcal/mol/Å", "MM forces, %")


def number(value: float, digits: int = 2) -> str:
    """A number with so many significant digits."""
    if 0 < abs(value) < 1e-4:
        factor, _, power = f"{value:.{digits - 1}e}".partition("e")
        return f"{factor}·10{str(int(power)).translate(_RAISED)}".replace("-", "−")
    short = float(f"{value:.{digits}g}")
    return f"{short:.10f}".rstrip("0").rstrip(".").replace("-", "−")


def _errors(metrics: Content) -> list[str]:
    """Of energy, QM forces, MM forces and charges, as `eqmm evaluate` writes them."""
    mm_forces = metrics.get("mm_forces")
    return [
        number(metrics["energy"]["mae"]),
        number(metrics["qm_forces"]["mae"]),
        number(100 * mm_forces["relative"]) if mm_forces else "",
        number(metrics["charges"]["mae"]),
    ]


def _cell(errors: Content) -> list[str]:
    """Of energy, QM forces and MM forces, as the studies write them."""
    relative = errors.get("mm_forces_relative_rms")
    return [
        number(errors["energy_mae"]),
        number(errors["qm_forces_mae"]),
        "" if relative is None else number(100 * relative),
    ]


def _by_medium(cells: Content) -> Rows:
    for name, cell in cells.items():
        for place, (medium, errors) in enumerate(cell["errors"].items()):
            yield ["" if place else name, medium, *_cell(errors)]


def _ablation(content: Content) -> Rows:
    for name, network in content["summary"].items():
        errors = network["errors"]
        energies = [number(errors[m]["energy_mae"]) for m in ("water", "methanol", "gas")]
        yield [name, *energies, number(errors["water"]["qm_forces_mae"])]


def _demo(content: Content) -> Rows:
    yield ["held-out trajectory", *_errors(content["metrics"])]


def _first_training(content: Content) -> Rows:
    yield [f"{content['n_frames']} test frames", *_errors(content["metrics"]["all"])]


def _relaxation(content: Content) -> Rows:
    found = content["relaxation"]
    above = found["pyscf_energy_of_eqmm_geometry_above_minimum_kcal_per_mol"]
    yield ["energy, EqMM − PySCF", f"{number(found['energy_difference_kcal_per_mol'])} kcal/mol"]
    yield ["PySCF's energy of EqMM's geometry above its own minimum", f"{number(above)} kcal/mol"]
    yield ["RMSD, superposed", f"{number(found['rmsd_superposed_A'])} Å"]
    yield ["RMSD, in place", f"{number(found['rmsd_in_place_A'])} Å"]
    yield ["time, EqMM", f"{number(found['seconds_eqmm'])} s, {found['steps_eqmm']} steps"]
    yield ["time, PySCF", f"{number(found['seconds_pyscf'])} s, {found['steps_pyscf']} steps"]


def _molecules(content: Content) -> Rows:
    for name, found in content["figures"].items():
        frames = f"{found['train_frames']} / {found['test_frames']}"
        charge = number(found["total_charge"])
        yield [f"{name}, charge {charge}", frames, *_errors(found["errors"])]


def _training_curve(content: Content) -> Rows:
    for cell in sorted(content["cells"].values(), key=lambda cell: cell["steps"]):
        yield [str(cell["steps"]), number(cell["cpu_seconds"]), *_cell(cell["errors"])]


def _learning_curve(content: Content) -> Rows:
    for cell in sorted(content["cells"].values(), key=lambda cell: cell["n_frames"]):
        yield [str(cell["n_frames"]), *_cell(cell["errors"]["water"])]


def _mechanical(content: Content) -> Rows:
    for name, cell in content["cells"].items():
        for place, (medium, errors) in enumerate(cell["errors"].items()):
            best = number(errors["energy_mae_centred"])
            yield ["" if place else name, medium, *_cell(errors), best]


def _fine_tuning(content: Content) -> Rows:
    for name, found in content["trainings"].items():
        yield [name, str(found["n_frames"]), *_cell(found)]


def _learning_rounds(content: Content) -> Rows:
    last = {"as many steps, no new labels": content["control"]}
    rounds = {f"round {n}": found for n, found in enumerate(content["rounds"])}
    for name, found in (rounds | last).items():
        energy, forces = found["path/energy"], found["path/qm_forces"]
        errors = [energy["mean"], energy["max"], forces["mean"], forces["max"]]
        yield [name, str(found["n_labels"]), *(number(error) for error in errors)]


def _sn2(content: Content) -> Rows:
    for medium, metrics in content["metrics"].items():
        yield [medium, str(metrics["energy"]["count"]), *_errors(metrics)]


def _uncertainty(content: Content) -> Rows:
    for name, found in content["uncertainty"].items():
        shares = [f"{number(100 * found[key])} %" for key in ("within_1", "within_2")]
        yield [name.replace("_", " ").replace("qm", "QM"), *shares, number(found["spearman"])]


def _extrapolation(content: Content) -> Rows:
    for row in content["by_amplitude"]:
        figures = [row["median_error"], row["median_uncertainty"], 100 * row["bad"]]
        yield [number(row["amplitude"]), *(number(figure) for figure in figures)]
    yield ["area under the ROC curve", number(content["area_under_roc"]), "", ""]


def _nvt(content: Content) -> Rows:
    for mode, run in content["runs"].items():
        reference = run["against_reference"]
        yield [
            {"held": "fixed charges", "moving": "moving water"}[mode],
            f"{number(run['ps'])} ps",
            "no" if run["failure"] is None else "yes",
            number(reference["energy_mae"]),
            number(reference["qm_forces_mae"]),
            number(run["cpu_ms_per_step"]),
        ]


def _nve(content: Content) -> Rows:
    found = content["figures"]
    drift, error = found["drift_meV_per_ps"], found["drift_error_meV_per_ps"]
    atom = found["drift_meV_per_ps_per_atom"]
    yield ["length, time step", f"{number(found['length_ps'])} ps, {found['timestep_fs']} fs"]
    yield ["temperature", f"{number(found['mean_temperature_K'], 3)} K"]
    yield ["drift", f"{number(drift)} ± {number(error, 1)} meV/ps, {number(atom)} an atom"]
    yield ["fluctuation", f"{number(found['fluctuation_meV'])} meV"]
    ratios = " and ".join(number(ratio) for ratio in found["fluctuation_ratios"])
    yield ["fluctuation ratio for twice the time step (4 expected)", ratios]


def _inference(content: Content) -> Rows:
    named = [content["methanol_720_charges"], content["22_atoms_3000_charges"]]
    for row in [*named, *content["against_number_of_charges"]]:
        times = [row[kind]["median_ms"] for kind in ("eager", "recorded", "calculator")]
        yield [f"{row['n_qm']}", f"{row['n_mm']}", *(number(time) for time in times)]


def _labels(content: Content) -> Rows:
    for row in content["rows"]:
        found = row["largest_deviation"]
        yield [
            row["molecule"],
            str(row["n_mm"]),
            number(row["labels_per_hour_and_core"]),
            number(row["ratio"]),
            number(found["qm_forces_kcal_per_mol_A"]),
        ]


def _plain(content: Content) -> Rows:
    for name, largest in content["largest"].items():
        yield [f"`{name}`", f"{number(largest)} {content['units'][name]}"]


def _defaults(content: Content) -> Rows:
    for row in content["rows"]:
        found = row.get("largest_error", {})
        errors = [number(found[k]) if k in found else "0" for k in ("energy", "qm_forces")]
        fit = "yes" if row["density_fit"] else "no"
        tolerance = number(row["conv_tol"], 1)
        yield [fit, str(row["grid_level"]), tolerance, *errors, number(row["seconds"])]


def _charges(content: Content) -> Rows:
    for molecule, found in content["molecules"].items():
        for place, (scheme, own) in enumerate(found["schemes"].items()):
            deviation = number(own["deviation"], 1) if "deviation" in own else ""
            yield ["" if place else molecule, scheme, number(own["rms"]["outside"]), deviation]


def _clusters(content: Content) -> Rows:
    for row in content["figures"]["force_errors_kcal_per_mol_per_angstrom"]:
        start = "" if row["switch_from"] is None else number(row["switch_from"])
        yield [number(row["radius"]), start, str(row["mm_charges"]), number(row["rms"])]


def _periodic(content: Content) -> Rows:
    for row in content["systems"]:
        times = [
            row["tensors"]["forward"]["median_ms"] + row["tensors"]["back"]["median_ms"],
            row["beside"]["bare_sum_12"]["median_ms"],
        ]
        yield [str(row["n_qm"]), str(row["n_mm"]), *(number(time) for time in times)]


def _mutations(content: Content) -> Rows:
    for name, found in content.items():
        if isinstance(found, dict) and "outcomes" in found:
            counts = [found["outcomes"].get(k, 0) for k in ("refused", "read identically")]
            yield [name, *map(str, counts), str(found["outcomes"].get("differs", 0))]


def _faults(content: Content) -> Rows:
    kinds = ", ".join(f"{n} {kind}" for kind, n in content["faults_by_kind"].items())
    yield ["faults", f"{content['faults']}: {kinds}"]
    yield ["labels at the end", f"{content['done']} of {content['frames']}"]
    yield ["labels made twice", str(content["finished_labels_made_again"])]
    yield ["frames in flight at a fault, at most", str(content["most_in_flight_at_a_fault"])]


def _topologies(content: Content) -> Rows:
    yield ["files", str(content["files"])]
    yield from ([outcome, str(n)] for outcome, n in content["outcomes"].items())


def _peptide(content: Content) -> Rows:
    found = content["figures"]
    seconds = sorted(found["cpu_seconds_per_label"])[len(found["cpu_seconds_per_label"]) // 2]
    sites = " to ".join(map(str, found["mm_charges"]))
    yield ["QM atoms with caps, charges", f"{found['qm_atoms_with_caps']}, {sites}"]
    yield ["labels, failures", f"{found['labels']}, {len(found['failures'])}"]
    yield ["processor time a label, median", f"{number(seconds)} s"]


def _solutes(content: Content) -> Rows:
    for name, found in content["figures"].items():
        sites = " to ".join(map(str, found["mm_charges"]))
        times = [found["seconds_sampling"], found["seconds_per_label"]]
        yield [name, sites, *(number(time) for time in times), str(len(found["failures"]))]


_STUDY = "python -m scripts.studies."
_BENCHMARK = "python -m scripts.benchmarks."
RESULTS: Mapping[str, Result] = {
    "demo": Result("scripts/demo", ("", *_ERRORS), _demo),
    "demo/relaxation": Result("scripts/demo", _FIGURE, _relaxation),
    "more_molecules": Result(
        f"{_STUDY}more_molecules -o results.json",
        ("", "frames to train / test", *_ERRORS),
        _molecules,
    ),
    "training_curve": Result(
        f"{_STUDY}training_curve train.h5 test.h5 -o results.json",
        ("steps", "CPU s", *_CELLS),
        _training_curve,
    ),
    "learning_curve": Result(
        f"{_STUDY}learning_curve -o results.json", ("frames", *_CELLS), _learning_curve
    ),
    "transfer": Result(
        f"{_STUDY}transfer -o results.json",
        ("trained in", "tested in", *_CELLS),
        lambda content: _by_medium(content["cells"]),
    ),
    "mechanical_embedding": Result(
        f"{_STUDY}mechanical_embedding MODEL -o results.json",
        ("", "tested in", *_CELLS, "energy with the best zero"),
        _mechanical,
    ),
    "ablation": Result(
        f"{_STUDY}ablation -o results.json",
        ("network", "energy in water", "in methanol", "in gas", "QM forces in water"),
        _ablation,
    ),
    "fine_tuning": Result(
        f"{_STUDY}fine_tuning train.h5 test.h5 -o results.json",
        ("", "frames", *_CELLS),
        _fine_tuning,
    ),
    "active_learning": Result(
        f"{_STUDY}active_learning FOLDER -o results.json",
        ("", "labels", "energy, mean", "largest", "QM forces, mean", "largest"),
        _learning_rounds,
    ),
    "methanol_default_training": Result(
        "eqmm train methanol_train.h5 -o methanol.eqmm", ("", *_ERRORS), _first_training
    ),
    "sn2_chloride": Result("scripts/flagship/train", ("tested in", "frames", *_ERRORS), _sn2),
    "sn2_chloride/uncertainty": Result(
        "scripts/flagship/train",
        ("", "errors within it", "within twice", "rank correlation"),
        _uncertainty,
    ),
    "extrapolation": Result(
        f"{_STUDY}extrapolation MODEL -o FOLDER",
        ("displacement, Å", "median error", "median uncertainty", "bad, %"),
        _extrapolation,
    ),
    "nvt_stability": Result(
        "python -m scripts.stability.nvt_stability report -o nvt --relabel 15",
        ("", "length", "exploded", "energy, kcal/mol", "QM forces, kcal/mol/Å", "CPU ms a step"),
        _nvt,
    ),
    "nve_methanol": Result(
        "python -m scripts.stability.nve_drift model.eqmm test.h5:0", _FIGURE, _nve
    ),
    "benchmark_inference": Result(
        f"{_BENCHMARK}benchmark_inference",
        ("QM atoms", "charges", "first calls, ms", "traced, ms", "through ASE, ms"),
        _inference,
    ),
    "benchmark_periodic": Result(
        f"{_BENCHMARK}benchmark_periodic",
        ("QM atoms", "charges", "Ewald's sum and gradients, ms", "bare sum over 12 Å, ms"),
        _periodic,
    ),
    "benchmark_labels": Result(
        f"{_BENCHMARK}benchmark_labels",
        ("", "charges", "labels an hour", "times PySCF", "deviation of forces, kcal/mol/Å"),
        _labels,
    ),
    "plain_labels": Result(
        f"{_BENCHMARK}plain_labels water_a.h5", ("label", "largest deviation"), _plain
    ),
    "plain_labels_methanol": Result(
        f"{_BENCHMARK}plain_labels methanol.h5", ("label", "largest deviation"), _plain
    ),
    "label_defaults": Result(
        f"{_BENCHMARK}label_defaults",
        ("density fit", "grid", "tolerance", "energy, kcal/mol", "QM forces, kcal/mol/Å", "CPU s"),
        _defaults,
    ),
    "charge_comparison": Result(
        f"{_BENCHMARK}charge_comparison",
        ("", "scheme", "error of the potential, kcal/mol/e", "from another program, e"),
        _charges,
    ),
    "compare_periodic": Result(
        f"{_BENCHMARK}compare_periodic -o FOLDER",
        ("radius, Å", "fading from, Å", "charges", "QM forces, RMS, kcal/mol/Å"),
        _clusters,
    ),
    "public_topologies": Result(
        f"{_BENCHMARK}public_topologies --mdanalysis FOLDER", _FIGURE, _topologies
    ),
    "showcase_serine": Result(f"{_BENCHMARK}showcase_peptides serine -o FOLDER", _FIGURE, _peptide),
    "showcase_dipeptide": Result(
        f"{_BENCHMARK}showcase_peptides dipeptide -o FOLDER", _FIGURE, _peptide
    ),
    "showcase_solutes": Result(
        f"{_BENCHMARK}showcase_solutes methanol acetamide glycine -o FOLDER",
        ("", "charges", "sampling, s", "a label, s", "failures"),
        _solutes,
    ),
    "mutations": Result(
        "python tests/kits/mutations.py", ("", "refused", "read as it was", "differs"), _mutations
    ),
    "fault_injection": Result("python tests/kits/fault_injection.py", _FIGURE, _faults),
}
