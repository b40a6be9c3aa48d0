"""How each results file becomes a table of a page: its command and its rows.

A new result is a function of its rows, a row in `RESULTS` and a mark in a page
(`scripts.docs.figures`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scripts.docs import result_rows as rows
from scripts.docs import system_rows
from scripts.docs.result_rows import Content, Rows


@dataclass(frozen=True)
class Result:
    """A table: the command that made its figures, the heads of its columns, and its rows."""

    command: str
    head: tuple[str, ...]
    rows: Callable[[Content], Rows]


_FIGURE = ("figure", "value")
_ERRORS = ("energy, kcal/mol", "QM forces, kcal/mol/Å", "MM forces, %", "charges, e")
_CELLS = ("energy, kcal/mol", "QM forces, kcal/mol/Å", "MM forces, %")
_STUDY = "python -m scripts.studies."
_BENCHMARK = "python -m scripts.benchmarks."
_REAL = "python -m scripts.systems.real_systems"


def _nve(options: str) -> Result:
    return Result(
        f"python -m scripts.systems.nve model.eqmm --edge 28{options}",
        ("", "ps", "drift, meV/ps", "fluctuation, meV"),
        system_rows.system_nve,
    )


def _truth(solute: str, *, errors: bool = False) -> Result:
    head = ("cut at", "", "change", "error of the model in it", "relative")
    return Result(
        f"python -m scripts.systems.truth model.eqmm frames.h5 --solute {solute} -o FOLDER",
        ("", "energy, kcal/mol", "QM forces, kcal/mol/Å") if errors else head,
        system_rows.truth_errors if errors else system_rows.truth_changes,
    )


RESULTS: Mapping[str, Result] = {
    "demo": Result("scripts/demo", ("", *_ERRORS), rows.demo),
    "demo/relaxation": Result("scripts/demo", _FIGURE, rows.relaxation),
    "more_molecules": Result(
        f"{_STUDY}more_molecules -o results.json",
        ("", "frames to train / test", *_ERRORS),
        rows.molecules,
    ),
    "training_curve": Result(
        f"{_STUDY}training_curve train.h5 test.h5 -o results.json",
        ("steps", "CPU s", *_CELLS),
        rows.training_curve,
    ),
    "learning_curve": Result(
        f"{_STUDY}learning_curve -o results.json", ("frames", *_CELLS), rows.learning_curve
    ),
    "transfer": Result(
        f"{_STUDY}transfer -o results.json",
        ("trained in", "tested in", *_CELLS),
        lambda content: rows.by_medium(content["cells"]),
    ),
    "mechanical_embedding": Result(
        f"{_STUDY}mechanical_embedding MODEL -o results.json",
        ("", "tested in", *_CELLS, "energy with the best zero"),
        rows.mechanical,
    ),
    "ablation": Result(
        f"{_STUDY}ablation -o results.json",
        ("network", "energy in water", "in methanol", "in gas", "QM forces in water"),
        rows.ablation,
    ),
    "edge_forms": Result(
        f"{_STUDY}edge_forms -o results.json",
        (
            *("message", "weights", "CPU s", "energy in water", "in methanol", "in gas"),
            *("QM forces in water", "in methanol", "in gas"),
        ),
        rows.edge_forms,
    ),
    "fine_tuning": Result(
        f"{_STUDY}fine_tuning train.h5 test.h5 -o results.json",
        ("", "frames", *_CELLS),
        rows.fine_tuning,
    ),
    "active_learning": Result(
        f"{_STUDY}active_learning FOLDER -o results.json",
        ("", "labels", "energy, mean", "largest", "QM forces, mean", "largest"),
        rows.learning_rounds,
    ),
    "methanol_default_training": Result(
        "eqmm train methanol_train.h5 -o methanol.eqmm", ("", *_ERRORS), rows.first_training
    ),
    "sn2_chloride": Result("scripts/flagship/train", ("tested in", "frames", *_ERRORS), rows.sn2),
    "sn2_chloride/uncertainty": Result(
        "scripts/flagship/train",
        ("", "errors within it", "within twice", "rank correlation"),
        rows.uncertainty,
    ),
    "extrapolation": Result(
        f"{_STUDY}extrapolation MODEL -o FOLDER",
        ("displacement, Å", "median error", "median uncertainty", "bad, %"),
        rows.extrapolation,
    ),
    "nvt_stability": Result(
        "python -m scripts.stability.nvt_stability report -o nvt --relabel 15",
        ("", "length", "exploded", "energy, kcal/mol", "QM forces, kcal/mol/Å", "CPU ms a step"),
        rows.nvt,
    ),
    "nve_methanol": Result(
        "python -m scripts.stability.nve_drift model.eqmm test.h5:0", _FIGURE, rows.nve
    ),
    "benchmark_inference": Result(
        f"{_BENCHMARK}benchmark_inference",
        ("QM atoms", "charges", "first calls, ms", "traced, ms", "through ASE, ms"),
        rows.inference,
    ),
    "benchmark_inference/committee": Result(
        f"{_BENCHMARK}benchmark_inference",
        ("QM atoms", "charges", "one model, ms", "committee of three, ms", "ratio"),
        rows.committee,
    ),
    "traced_training": Result(
        f"{_STUDY}training_curve train.h5 test.h5 --steps 10000 --seeds 3 -o results.json",
        ("", "CPU s", *_CELLS),
        rows.traced_training,
    ),
    "benchmark_training": Result(f"{_BENCHMARK}benchmark_training", _FIGURE, rows.training_step),
    "benchmark_periodic": Result(
        f"{_BENCHMARK}benchmark_periodic",
        ("QM atoms", "charges", "Ewald's sum and gradients, ms", "bare sum over 12 Å, ms"),
        rows.periodic,
    ),
    "system_cost": Result(
        "python -m scripts.systems.cost model.eqmm",
        ("", "atoms", "classical step, ms", "with the network, ms", "ratio"),
        system_rows.system_cost,
    ),
    "system_speed": Result(
        "python -m scripts.systems.speed model.eqmm",
        ("potential", "CPU ms a step", "ns/day"),
        system_rows.system_speed,
    ),
    "system_nve": _nve(""),
    "system_nve_cutoff": _nve(" --electrostatics cutoff --equilibration 1 --without-control"),
    "time_steps": Result(
        "python -m scripts.systems.time_steps model.eqmm",
        (
            *("mass of H, u", "step, fs", "network evaluations", "classical evaluations"),
            *("drift, meV/ps", "fluctuation, meV"),
        ),
        system_rows.time_steps,
    ),
    "system_long_run": Result(
        "python -m scripts.systems.long_run MODEL -o FOLDER",
        ("frames labelled anew", "energy, kcal/mol", "QM forces, kcal/mol/Å"),
        system_rows.long_run,
    ),
    "system_saddle": Result(
        "python -m scripts.systems.saddle -o FOLDER",
        ("", "C–Cl, Å", "C–Cl, Å", "saddle above complex, kcal/mol"),
        system_rows.saddle,
    ),
    "system_truth_sn2": _truth("sn2"),
    "system_truth_sn2/errors": _truth("sn2", errors=True),
    "system_truth_methanol": _truth("methanol"),
    "system_truth_methanol/errors": _truth("methanol", errors=True),
    "system_real": Result(
        _REAL,
        (
            *("", "atoms", "ledger, kcal/mol", "net force, eV/Å"),
            *("force against finite differences, eV/Å", "largest on"),
        ),
        system_rows.system_checks,
    ),
    "system_real/runs": Result(
        _REAL,
        (
            *("", "ps", "temperature, K", "largest force, eV/Å"),
            *("step, ms", "classical step, ms", "ratio", "memory, MB"),
        ),
        system_rows.system_runs,
    ),
    "benchmark_labels": Result(
        f"{_BENCHMARK}benchmark_labels",
        ("", "charges", "labels an hour", "times PySCF", "deviation of forces, kcal/mol/Å"),
        rows.labels,
    ),
    "plain_labels": Result(
        f"{_BENCHMARK}plain_labels water_a.h5", ("label", "largest deviation"), rows.plain
    ),
    "plain_labels_methanol": Result(
        f"{_BENCHMARK}plain_labels methanol.h5", ("label", "largest deviation"), rows.plain
    ),
    "label_defaults": Result(
        f"{_BENCHMARK}label_defaults",
        ("density fit", "grid", "tolerance", "energy, kcal/mol", "QM forces, kcal/mol/Å", "CPU s"),
        rows.defaults,
    ),
    "charge_comparison": Result(
        f"{_BENCHMARK}charge_comparison",
        ("", "scheme", "error of the potential, kcal/mol/e", "from another program, e"),
        rows.charges,
    ),
    "compare_periodic": Result(
        f"{_BENCHMARK}compare_periodic -o FOLDER",
        ("radius, Å", "fading from, Å", "charges", "QM forces, RMS, kcal/mol/Å"),
        rows.clusters,
    ),
    "public_topologies": Result(
        f"{_BENCHMARK}public_topologies --mdanalysis FOLDER", _FIGURE, rows.topologies
    ),
    "showcase_serine": Result(
        f"{_BENCHMARK}showcase_peptides serine -o FOLDER", _FIGURE, rows.peptide
    ),
    "showcase_dipeptide": Result(
        f"{_BENCHMARK}showcase_peptides dipeptide -o FOLDER", _FIGURE, rows.peptide
    ),
    "showcase_solutes": Result(
        f"{_BENCHMARK}showcase_solutes methanol acetamide glycine -o FOLDER",
        ("", "charges", "sampling, s", "a label, s", "failures"),
        rows.solutes,
    ),
    "mutations": Result(
        "python tests/kits/mutations.py",
        ("", "refused", "read as it was", "differs"),
        rows.mutations,
    ),
    "gpu_check": Result("scripts/gpu_check", ("part", *_FIGURE), rows.gpu_check),
    "fault_injection": Result("python tests/kits/fault_injection.py", _FIGURE, rows.faults),
}
