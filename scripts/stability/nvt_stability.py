"""Is the shipped potential stable? 200 ps of NVT at 350 K of Cl⁻ + CH3Cl in water, twice.

    python -m scripts.stability.nvt_stability held -o nvt
    python -m scripts.stability.nvt_stability moving -o nvt
    python -m scripts.stability.nvt_stability report -o nvt --relabel 40

``held``: in the charges of a test frame, which do not move (`nvt_held.py`). ``moving``: in a
droplet of moving water (`nvt_droplet.py`). Start, Lennard-Jones and the springs that keep the
solute within the range of the training data are in `nvt_start.py`. The mean of the committee acts,
which is the potential that is shipped; ``--member N`` takes the forces of one member, in less than
half the time, and asks the whole committee at the records only.

A killed run goes on when it is given again. It stops with an error where no molecule can be: a
force that is not a number or beyond 400 kcal/mol/Å, a C–H bond outside 0.8–1.6 Å, three times the
temperature (`nvt_records.py`). ``report``, which ends every run too, writes figures and plot of
what is done so far; ``--relabel N`` computes N images of each run by the reference method.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eqmm_ase.atomic_write import write_text
from eqmm_ase.commands.run_log import RunLog
from eqmm_ase.models.pretrained import pretrained_file
from eqmm_ase.progress_bar import duration
from scripts.common import IMAGES, RESULTS, argument_parser, write_results
from scripts.stability.nvt_records import Record, read_records
from scripts.stability.nvt_report import TITLES, draw, figures, relabel
from scripts.stability.nvt_settings import COLUMNS, RunSettings, settle
from scripts.stability.nvt_start import WALL_START, load_start


def run(settings: RunSettings, length: float, folder: Path, log_every: int) -> None:
    """One run of so many ps, from its start or from where it is.

    Raises
    ------
    RuntimeError, openmm.OpenMMException
        It exploded; ``failure.txt`` in the folder then says how.
    """
    start = load_start()
    settle(folder, settings)
    steps = round(1000 * length / settings.timestep / settings.every) * settings.every
    failure = folder / "failure.txt"
    failure.unlink(missing_ok=True)
    done = read_records(folder / "records.jsonl")
    runner = _runner(settings.mode)
    with RunLog(COLUMNS, folder / "run.log", total=steps, append=bool(done)) as log:
        log.line(f"{TITLES[settings.mode]}, from {start.origin}; {length:g} ps in {steps} steps")
        log.head()

        def report(record: Record) -> None:
            if record.step // settings.every % log_every == 0 or record.step == steps:
                log.row(_row(record, settings, steps), record.step)

        try:
            runner(start, settings, steps, folder, report)
        except Exception as error:
            log.line(f"error: {error}")
            write_text(failure, f"{error}\n")
            raise


def _runner(mode: str) -> Callable[..., None]:
    if mode == "held":
        from scripts.stability.nvt_held import run_held

        return run_held
    from scripts.stability.nvt_droplet import run_moving  # takes OpenMM along

    return run_moving


def _row(record: Record, settings: RunSettings, steps: int) -> list[Any]:
    a_step = record.seconds / settings.every
    return [
        record.step,
        record.time,
        record.temperature,
        record.temperature_all,
        record.zeta,
        record.ch_max,
        record.contact,
        record.uncertainty_force,
        1000 * a_step,
        duration((steps - record.step) * a_step),
    ]


def write_report(options: argparse.Namespace) -> None:
    """JSON and plot of all runs in the folder, as far as they are.

    Raises
    ------
    ValueError
        There are none.
    """
    runs: dict[str, list[Record]] = {}
    found: dict[str, Any] = {}
    target = options.temperature
    for mode in TITLES:
        folder = options.output / mode
        records = read_records(folder / "records.jsonl")
        if not records:
            continue
        runs[mode] = records
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        target = settings["temperature"]
        if options.relabel:
            relabel(folder, load_start(), options.model, options.relabel)
        failure = folder / "failure.txt"
        found[mode] = {
            "failure": failure.read_text(encoding="utf-8").strip() if failure.exists() else None,
            **figures(records),
            "start": load_start().origin,
            "settings": settings | _surroundings(mode, settings),
        }
        judged = folder / "relabelled.json"
        if judged.exists():
            found[mode]["against_reference"] = json.loads(judged.read_text(encoding="utf-8"))
    if not runs:
        raise ValueError(f"there is no run in {options.output}")
    write_results(options.json, {"units": "ps, K, Å, kcal/mol, kcal/mol/Å", "runs": found})
    draw(runs, target, options.plot)


def _surroundings(mode: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What acts beside the model, in numbers."""
    facts: dict[str, Any] = {"spring_on_C_Cl_beyond_angstrom": WALL_START}
    if mode == "held":
        return facts | {"waters": len(load_start().waters)}
    from eqmm_ase.units import KCAL_PER_MOL
    from scripts.stability.nvt_droplet import CENTRE_STIFFNESS, SURFACE_GAP, droplet_waters

    return facts | {
        "waters": len(droplet_waters(load_start(), settings["radius"])),
        "spring_on_C_kcal_per_mol_angstrom2": round(CENTRE_STIFFNESS / KCAL_PER_MOL, 6),
        "wall_on_O_beyond_angstrom": settings["radius"] + SURFACE_GAP,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argument_parser(__doc__, "folder", Path("nvt"))
    defaults = RunSettings("", "")
    parser.add_argument("what", choices=[*TITLES, "report"])
    model = str(pretrained_file("sn2-chloride-b3lyp"))
    parser.add_argument("--model", default=model, help="file (default: the pretrained one)")
    parser.add_argument("--member", type=int, help="whose forces act, from 0 (default: the mean)")
    parser.add_argument("--length", type=float, default=200.0, help="ps (default: %(default)s)")
    for name, unit in (("temperature", "K"), ("timestep", "fs"), ("friction", "1/ps")):
        parser.add_argument(
            f"--{name}",
            type=float,
            default=getattr(defaults, name),
            help=f"{unit} (default: %(default)s)",
        )
    parser.add_argument("--every", type=int, default=defaults.every, help="steps between records")
    parser.add_argument("--radius", type=float, default=defaults.radius, help="Å, of the droplet")
    parser.add_argument("--platform", default=defaults.platform, help="OpenMM's")
    parser.add_argument("--dtype", default=defaults.dtype, choices=["float32", "float64"])
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--log-every", type=int, default=20, help="records between log lines")
    parser.add_argument("--relabel", type=int, default=0, help="images to label anew")
    parser.add_argument("--json", type=Path, default=RESULTS / "nvt_stability.json")
    parser.add_argument("--plot", type=Path, default=IMAGES / "nvt_stability.png")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run, then report; 1 when a run exploded or cannot be."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    failed = False
    if options.what != "report":
        names = RunSettings.__dataclass_fields__.keys() - {"mode"}
        chosen = {name: getattr(options, name) for name in names}
        settings = RunSettings(mode=options.what, **chosen)
        try:
            run(settings, options.length, options.output / options.what, options.log_every)
        except Exception as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
    try:
        write_report(options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
