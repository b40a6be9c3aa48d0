"""Tables for the terminal: errors by medium, and what a model or dataset file holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from rich.table import Table

from eqmm_ase.data.checks import composition
from eqmm_ase.data.dataset_format import FIELDS, GROUPS
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.level_of_theory import spoken
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.evaluation.metrics import ALL, Metrics, spoken_relative
from eqmm_ase.evaluation.reliability import GAUSSIAN
from eqmm_ase.files.dataset_file import ReferenceData
from eqmm_ase.terminal import cell, title

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def metrics_table(metrics: Mapping[str, Metrics], name: str = "") -> Table:
    """Errors of every quantity; one block per medium where there are several."""
    table = Table(title=title(name), title_justify="left")
    table.add_column("medium")
    table.add_column("quantity")
    for header in ("MAE", "RMSE"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("relative RMS", justify="right")
    table.add_column("values", justify="right", no_wrap=True)
    media = [name for name in metrics if name != ALL]
    for medium in media if len(media) == 1 else [*media, ALL]:
        for i, (quantity, errors) in enumerate(metrics[medium].items()):
            table.add_row(
                cell(medium if i == 0 else ""),
                QUANTITIES[quantity].title,
                f"{errors['mae']:.4f}",
                f"{errors['rmse']:.4f}",
                QUANTITIES[quantity].quoted,
                spoken_relative(quantity, errors),
                f"{int(errors['count'])}",
            )
        table.add_section()
    return table


def reliability_table(found: Mapping[str, Mapping[str, float]], name: str = "") -> Table:
    """How the uncertainty σ of a committee relates to its errors (`reliability`).

    Shares of errors within σ have those of normally distributed errors in brackets.
    """
    table = Table(title=title(name), title_justify="left")
    table.add_column("")
    for quantity in found:
        table.add_column(QUANTITIES[quantity].title, justify="right", no_wrap=True)
    units = {quantity: QUANTITIES[quantity].quoted for quantity in found}

    def row(what: str, content: Callable[[str, Mapping[str, float]], str]) -> None:
        table.add_row(what, *(content(quantity, figures) for quantity, figures in found.items()))

    row("uncertainty σ (RMS)", lambda name, f: f"{f['rms_uncertainty']:.4f} {units[name]}")
    row("error (RMS)", lambda name, f: f"{f['rms_error']:.4f} {units[name]}")
    row("rank correlation", lambda _, f: f"{f['spearman']:.2f}" if "spearman" in f else "–")
    row("errors within 1σ (normal)", lambda n, f: f"{f['within_1']:.0%} ({GAUSSIAN[n][0]:.0%})")
    row("errors within 2σ (normal)", lambda n, f: f"{f['within_2']:.0%} ({GAUSSIAN[n][1]:.0%})")
    row("σ over spread", lambda _, f: f"{f['factor']:.2f}")
    row("values", lambda _, f: f"{int(f['count'])}")
    return table


def is_dataset(path: Path) -> bool:
    """Whether a file is HDF5, by its first bytes.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        When there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a model file or a dataset file")
    with path.open("rb") as file:
        return file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE


def dataset_table(path: Path) -> Table:
    """What a dataset file holds: systems, sizes, media, method, and how many labels."""
    with ReferenceData(path) as data:
        frames = data.load()
        rows = {
            "frames": str(len(data)),
            "elements": _symbols(data.elements),
            "QM regions": _counted(composition(f.atomic_numbers) for f in frames),
            "QM atoms": _range(data.n_qm),
            "MM charges": _range(data.n_mm),
            "total charges": _counted(f"{f.total_charge:+d}" for f in frames),
            "spin multiplicities": _counted(str(f.spin_multiplicity) for f in frames),
            "media": _counted(f.medium or "unnamed" for f in frames),
            "trajectories": str(len(data.sources)),
            **{f"method: {key}": str(value) for key, value in data.method.items()},
            **_coverage(frames),
            "content hash": data.content_hash,
        }
    return _facts(f"{path}: eqmm-dataset", rows)


def model_table(path: Path, card: Mapping[str, Any]) -> Table:
    """Contents of a model's card: elements, cutoff, training data, level of theory."""
    domain = card.get("domain", {})
    sizes = domain.get("n_qm") or []
    closest = domain.get("closest_mm")
    baseline = card.get("baseline")
    rows = {
        "about": card.get("about", ""),
        "predicts": "" if baseline is None else f"the difference from {spoken(baseline)}",
        "elements": _symbols(card["elements"]),
        "cutoff": f"{card['cutoff']:g} Å",
        "expansion order L": str(card["l_expansion"]),
        "committee": f"{card['n_members']} members" if "n_members" in card else "",
        "parameters": str(card.get("n_parameters", "unknown")),
        "charges": card.get("charge_scheme") or "none",
        "QM regions seen": ", ".join(domain.get("compositions", [])),
        "QM atoms seen": _range(np.array(sizes)) if sizes else "",
        "total charges seen": ", ".join(f"{q:+d}" for q in domain.get("total_charges", [])),
        "spin multiplicities seen": ", ".join(map(str, domain.get("spin_multiplicities", []))),
        "closest MM charge seen": f"{closest:.2f} Å" if closest is not None else "",
        "media seen": ", ".join(medium or "unnamed" for medium in card.get("media", [])),
        "training frames": str(card.get("n_training_frames", "")),
        **{f"method: {key}": str(value) for key, value in card.get("method", {}).items()},
        "training set hash": card.get("training_set_hash", ""),
        "made with": card.get("made_with", ""),
        "made by": f"EqMM {card.get('eqmm_version', 'unknown')}, {card.get('created', '')}",
    }
    return _facts(f"{path}: eqmm-model", {key: value for key, value in rows.items() if value})


def _facts(name: str, rows: Mapping[str, str]) -> Table:
    table = Table(title=title(name), title_justify="left", show_header=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(cell(key), cell(value))
    return table


def _coverage(frames: Sequence[Frame]) -> dict[str, str]:
    """How many frames know each label."""
    labels = [name for name, field in FIELDS.items() if field.label]
    counts = {n: sum(getattr(frame, n) is not None for frame in frames) for n in labels}
    for group in GROUPS:
        for scheme in sorted({scheme for frame in frames for scheme in getattr(frame, group)}):
            known = sum(scheme in getattr(frame, group) for frame in frames)
            counts[f"{group}/{scheme}"] = known
    total = len(frames)
    return {
        f"label: {name}": "all frames" if count == total else f"{count} of {total} frames"
        for name, count in counts.items()
    }


def _symbols(numbers: Iterable[int]) -> str:
    return " ".join(chemical_symbols[z] for z in numbers)


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values)
    return ", ".join(f"{value} ({count})" for value, count in counts.most_common())


def _range(values: np.ndarray) -> str:
    if not len(values):
        return "none"
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
