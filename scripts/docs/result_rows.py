"""Rows of the tables of results, one function for each kind of results file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Content = Mapping[str, Any]
Rows = Iterator[Sequence[str]]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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


def by_medium(cells: Content) -> Rows:
    """Rows of a table by training and medium."""
    for name, cell in cells.items():
        for place, (medium, errors) in enumerate(cell["errors"].items()):
            yield ["" if place else name, medium, *_cell(errors)]


def ablation(content: Content) -> Rows:
    """Rows of the table of ``ablation.json``."""
    for name, network in content["summary"].items():
        errors = network["errors"]
        energies = [number(errors[m]["energy_mae"]) for m in ("water", "methanol", "gas")]
        yield [name, *energies, number(errors["water"]["qm_forces_mae"])]


def edge_forms(content: Content) -> Rows:
    """Rows of the table of ``edge_forms.json``; means of the seeds and half of their range."""
    for name, form in content["summary"].items():
        errors = form["errors"]
        keys = ("energy_mae_centred", "qm_forces_mae")
        pairs = [errors[m][key] for key in keys for m in ("water", "methanol", "gas")]
        sizes = f"{form['parameters']}", number(form["cpu_seconds"], 3)
        yield [name, *sizes, *(f"{number(a)} ± {number(b, 1)}" for a, b in pairs)]


def demo(content: Content) -> Rows:
    """Rows of the table of ``demo.json``."""
    yield ["held-out trajectory", *_errors(content["metrics"])]


def first_training(content: Content) -> Rows:
    """Rows of the table of ``methanol_default_training.json``."""
    yield [f"{content['n_frames']} test frames", *_errors(content["metrics"]["all"])]


def relaxation(content: Content) -> Rows:
    """Rows of the table of ``demo.json``."""
    found = content["relaxation"]
    above = found["pyscf_energy_of_eqmm_geometry_above_minimum_kcal_per_mol"]
    yield ["energy, EqMM − PySCF", f"{number(found['energy_difference_kcal_per_mol'])} kcal/mol"]
    yield ["PySCF's energy of EqMM's geometry above its own minimum", f"{number(above)} kcal/mol"]
    yield ["RMSD, superposed", f"{number(found['rmsd_superposed_A'])} Å"]
    yield ["RMSD, in place", f"{number(found['rmsd_in_place_A'])} Å"]
    yield ["time, EqMM", f"{number(found['seconds_eqmm'])} s, {found['steps_eqmm']} steps"]
    yield ["time, PySCF", f"{number(found['seconds_pyscf'])} s, {found['steps_pyscf']} steps"]


def molecules(content: Content) -> Rows:
    """Rows of the table of ``demo.json``."""
    for name, found in content["figures"].items():
        frames = f"{found['train_frames']} / {found['test_frames']}"
        charge = number(found["total_charge"])
        yield [f"{name}, charge {charge}", frames, *_errors(found["errors"])]


def training_curve(content: Content) -> Rows:
    """Rows of the table of ``training_curve.json``."""
    for cell in sorted(content["cells"].values(), key=lambda cell: cell["steps"]):
        yield [str(cell["steps"]), number(cell["cpu_seconds"]), *_cell(cell["errors"])]


def traced_training(content: Content) -> Rows:
    """Rows of the table of ``traced_training.json``."""
    for name, cell in content["cells"].items():
        yield [name, number(cell["cpu_seconds"], 3), *_cell(cell["errors"])]


def learning_curve(content: Content) -> Rows:
    """Rows of the table of ``learning_curve.json``."""
    for cell in sorted(content["cells"].values(), key=lambda cell: cell["n_frames"]):
        yield [str(cell["n_frames"]), *_cell(cell["errors"]["water"])]


def mechanical(content: Content) -> Rows:
    """Rows of the table of ``mechanical_embedding.json``."""
    for name, cell in content["cells"].items():
        for place, (medium, errors) in enumerate(cell["errors"].items()):
            best = number(errors["energy_mae_centred"])
            yield ["" if place else name, medium, *_cell(errors), best]


def fine_tuning(content: Content) -> Rows:
    """Rows of the table of ``fine_tuning.json``."""
    for name, found in content["trainings"].items():
        yield [name, str(found["n_frames"]), *_cell(found)]


def learning_rounds(content: Content) -> Rows:
    """Rows of the table of ``active_learning.json``."""
    last = {"as many steps, no new labels": content["control"]}
    rounds = {f"round {n}": found for n, found in enumerate(content["rounds"])}
    for name, found in (rounds | last).items():
        energy, forces = found["path/energy"], found["path/qm_forces"]
        errors = [energy["mean"], energy["max"], forces["mean"], forces["max"]]
        yield [name, str(found["n_labels"]), *(number(error) for error in errors)]


def sn2(content: Content) -> Rows:
    """Rows of the table of ``sn2_chloride.json``."""
    for medium, metrics in content["metrics"].items():
        yield [medium, str(metrics["energy"]["count"]), *_errors(metrics)]


def uncertainty(content: Content) -> Rows:
    """Rows of the table of ``sn2_chloride.json``."""
    for name, found in content["uncertainty"].items():
        shares = [f"{number(100 * found[key])} %" for key in ("within_1", "within_2")]
        yield [name.replace("_", " ").replace("qm", "QM"), *shares, number(found["spearman"])]


def extrapolation(content: Content) -> Rows:
    """Rows of the table of ``extrapolation.json``."""
    for row in content["by_amplitude"]:
        figures = [row["median_error"], row["median_uncertainty"], 100 * row["bad"]]
        yield [number(row["amplitude"]), *(number(figure) for figure in figures)]
    yield ["area under the ROC curve", number(content["area_under_roc"]), "", ""]


def nvt(content: Content) -> Rows:
    """Rows of the table of ``nvt_stability.json``."""
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


def nve(content: Content) -> Rows:
    """Rows of the table of ``nve_methanol.json``."""
    found = content["figures"]
    drift, error = found["drift_meV_per_ps"], found["drift_error_meV_per_ps"]
    atom = found["drift_meV_per_ps_per_atom"]
    yield ["length, time step", f"{number(found['length_ps'])} ps, {found['timestep_fs']} fs"]
    yield ["temperature", f"{number(found['mean_temperature_K'], 3)} K"]
    yield ["drift", f"{number(drift)} ± {number(error, 1)} meV/ps, {number(atom)} an atom"]
    yield ["fluctuation", f"{number(found['fluctuation_meV'])} meV"]
    ratios = " and ".join(number(ratio) for ratio in found["fluctuation_ratios"])
    yield ["fluctuation ratio for twice the time step (4 expected)", ratios]


def inference(content: Content) -> Rows:
    """Rows of the table of ``benchmark_inference.json``."""
    for row in [
        content["methanol_720_charges"],
        *content["larger"],
        *content["against_number_of_charges"],
    ]:
        times = [row[kind]["median_ms"] for kind in ("eager", "recorded", "calculator")]
        yield [f"{row['n_qm']}", f"{row['n_mm']}", *(number(time) for time in times)]


def committee(content: Content) -> Rows:
    """Rows of the table of ``benchmark_inference.json`` on a committee."""
    found = content["committee"]
    times = [number(found[kind]["median_ms"]) for kind in ("one", "calculator")]
    yield [f"{found['n_qm']}", f"{found['n_mm']}", *times, number(found["ratio"])]


def training_step(content: Content) -> Rows:
    """Rows of the table of ``benchmark_training.json``."""
    yield ["a step of three frames of methanol", f"{number(content['step_ms'])} ms"]


def labels(content: Content) -> Rows:
    """Rows of the table of ``benchmark_labels.json``."""
    for row in content["rows"]:
        found = row["largest_deviation"]
        yield [
            row["molecule"],
            str(row["n_mm"]),
            number(row["labels_per_hour_and_core"]),
            number(row["ratio"]),
            number(found["qm_forces_kcal_per_mol_A"]),
        ]


def plain(content: Content) -> Rows:
    """Rows of the table of ``plain_labels.json``."""
    for name, largest in content["largest"].items():
        yield [f"`{name}`", f"{number(largest)} {content['units'][name]}"]


def defaults(content: Content) -> Rows:
    """Rows of the table of ``label_defaults.json``."""
    for row in content["rows"]:
        found = row.get("largest_error", {})
        errors = [number(found[k]) if k in found else "0" for k in ("energy", "qm_forces")]
        fit = "yes" if row["density_fit"] else "no"
        tolerance = number(row["conv_tol"], 1)
        yield [fit, str(row["grid_level"]), tolerance, *errors, number(row["seconds"])]


def charges(content: Content) -> Rows:
    """Rows of the table of ``charge_comparison.json``."""
    for molecule, found in content["molecules"].items():
        for place, (scheme, own) in enumerate(found["schemes"].items()):
            deviation = number(own["deviation"], 1) if "deviation" in own else ""
            yield ["" if place else molecule, scheme, number(own["rms"]["outside"]), deviation]


def clusters(content: Content) -> Rows:
    """Rows of the table of ``compare_periodic.json``."""
    for row in content["figures"]["force_errors_kcal_per_mol_per_angstrom"]:
        start = "" if row["switch_from"] is None else number(row["switch_from"])
        yield [number(row["radius"]), start, str(row["mm_charges"]), number(row["rms"])]


def periodic(content: Content) -> Rows:
    """Rows of the table of ``benchmark_periodic.json``."""
    for row in content["systems"]:
        times = [
            row["tensors"]["forward"]["median_ms"] + row["tensors"]["back"]["median_ms"],
            row["beside"]["bare_sum_12"]["median_ms"],
        ]
        yield [str(row["n_qm"]), str(row["n_mm"]), *(number(time) for time in times)]


def mutations(content: Content) -> Rows:
    """Rows of the table of ``mutations.json``."""
    for name, found in content.items():
        if isinstance(found, dict) and "outcomes" in found:
            counts = [found["outcomes"].get(k, 0) for k in ("refused", "read identically")]
            yield [name, *map(str, counts), str(found["outcomes"].get("differs", 0))]


def faults(content: Content) -> Rows:
    """Rows of the table of ``fault_injection.json``."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in content["faults_by_kind"].items())
    yield ["faults", f"{content['faults']}: {kinds}"]
    yield ["labels at the end", f"{content['done']} of {content['frames']}"]
    yield ["labels made twice", str(content["finished_labels_made_again"])]
    yield ["frames in flight at a fault, at most", str(content["most_in_flight_at_a_fault"])]


def topologies(content: Content) -> Rows:
    """Rows of the table of ``public_topologies.json``."""
    yield ["files", str(content["files"])]
    yield from ([outcome, str(n)] for outcome, n in content["outcomes"].items())


def peptide(content: Content) -> Rows:
    """Rows of the table of ``showcase_serine.json``."""
    found = content["figures"]
    seconds = sorted(found["cpu_seconds_per_label"])[len(found["cpu_seconds_per_label"]) // 2]
    sites = " to ".join(map(str, found["mm_charges"]))
    yield ["QM atoms with caps, charges", f"{found['qm_atoms_with_caps']}, {sites}"]
    yield ["labels, failures", f"{found['labels']}, {len(found['failures'])}"]
    yield ["processor time a label, median", f"{number(seconds)} s"]


def solutes(content: Content) -> Rows:
    """Rows of the table of ``showcase_solutes.json``."""
    for name, found in content["figures"].items():
        sites = " to ".join(map(str, found["mm_charges"]))
        times = [found["seconds_sampling"], found["seconds_per_label"]]
        yield [name, sites, *(number(time) for time in times), str(len(found["failures"]))]


def gpu_check(content: Content) -> Rows:
    """Rows of the table of ``gpu_check.json``; of a part without figures, its outcome."""
    for part in content["parts"]:
        figures = part["figures"] or {"": part["outcome"]}
        for place, (name, value) in enumerate(figures.items()):
            text = value if isinstance(value, str) else number(value)
            yield ["" if place else part["title"], name, text]
