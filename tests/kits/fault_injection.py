"""Kill a labelling campaign at random moments, again and again, and see what it cost.

    python tests/kits/fault_injection.py --output scripts/results/fault_injection.json

A campaign of cheap frames runs through `eqmm-datagen run`. Faults strike while it computes: a
worker or the driver gets SIGKILL, the disk is full, and, as a power cut may leave them, a result
file is altered or cut short, or the ledger has a torn transaction. Each time the same command goes
on. At the end: was more redone than what was in flight, was any finished label made again, and is
the collected dataset that of a campaign that nobody disturbed?
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fault_kinds import DAMAGES, Driver, damage_result, tear_ledger
from places import ROOT

from datagen.campaigns.collect import collect_campaign
from datagen.campaigns.ledger import LedgerReader, Row
from datagen.labels.method import Method
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.units import HARTREE, HARTREE_PER_BOHR

WORKERS = 2
KINDS = ("worker killed", "driver killed", "disk full", *DAMAGES, "ledger torn")
METHOD = Method(functional="hf", basis="sto-3g", conv_tol_grad=1e-7)
_WATER = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.469], [0.0, -0.757, -0.469]])  # Å
_MOST_WORKER_KILLS = 2  # in a row; the third on the same frame would give it up, as it should

# A restart changes where an SCF starts, and with it the digits that its thresholds leave open.
ENERGY_TOLERANCE = METHOD.conv_tol * HARTREE  # eV
FORCE_TOLERANCE = METHOD.conv_tol_grad * HARTREE_PER_BOHR  # eV/Å


@dataclass
class Record:
    """What happened to a campaign."""

    kinds: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    """frame_id → faults that struck while it was computed."""
    damaged: Counter[str] = field(default_factory=Counter)
    """frame_id → times its result file was damaged."""
    most_in_flight: int = 0
    checksums: dict[str, str] = field(default_factory=dict)
    """frame_id → checksum of its undamaged result when it was first seen."""
    relabelled: set[str] = field(default_factory=set)
    """Frames that were done and undamaged and have another result now."""

    def see(self, rows: Sequence[Row]) -> None:
        """Notice labels that were made a second time."""
        for row in rows:
            if row.checksum is None:
                continue
            if self.checksums.setdefault(row.frame_id, row.checksum) != row.checksum:
                self.relabelled.add(row.frame_id)

    def strike(self, kind: str, running: Sequence[str]) -> None:
        """Count a fault that met these frames in flight."""
        self.kinds[kind] += 1
        self.in_flight.update(running)
        self.most_in_flight = max(self.most_in_flight, len(running))


def cheap_frames(count: int, seed: int, n_charges: int = 300) -> list[Frame]:
    """Water molecules, each in its own charges no nearer than 2.5 Å."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        qm = _WATER + rng.normal(0.0, 0.03, (3, 3))
        direction = rng.normal(size=(n_charges, 3))
        direction /= np.linalg.norm(direction, axis=1)[:, None]
        mm = direction * rng.uniform(4.0, 14.0, (n_charges, 1))
        charges = rng.normal(0.0, 0.4, n_charges)
        frames.append(Frame(np.array([8, 1, 1]), qm, mm, charges, medium="water"))
    return frames


def prepare(folder: Path, frames: Sequence[Frame]) -> Path:
    """Make a campaign folder that was never run."""
    folder.mkdir(parents=True)
    write_frames(folder / "frames.h5", frames, {})
    settings = {
        "frames": "frames.h5",
        "method": METHOD.settings(),
        "executor": {"workers": WORKERS},
    }
    (folder / "campaign.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


def ledger_rows(folder: Path) -> list[Row]:
    """Rows of the ledger as they are now."""
    with LedgerReader(folder / "ledger.sqlite") as ledger:
        return ledger.rows()


def disturb(folder: Path, faults: int, frame_time: float, dice: random.Random) -> Record:
    """Run a campaign to its end through a number of faults.

    Parameters
    ----------
    folder
        A campaign that was never run.
    faults
        How many.
    frame_time
        About how long a frame takes, s.
    dice
        Decides kinds and moments.
    """
    record = Record()
    driver = Driver(folder)
    worker_kills = 0
    for number, wanted in enumerate(_schedule(faults, dice)):
        _wait_for_a_moment(driver, faults - number, frame_time, dice)
        kind = _possible(wanted, ledger_rows(folder), worker_kills)
        print(f"fault {number + 1} of {faults}: {kind}", file=sys.stderr, flush=True)
        if kind == "worker killed":
            worker_kills += 1
            record.strike(kind, driver.kill_worker(dice))
            continue
        worker_kills = 0
        if kind == "disk full":
            driver.fill_disk(dice)
        else:
            driver.kill()
        rows = ledger_rows(folder)
        record.see(rows)
        record.strike(kind, [row.frame_id for row in rows if row.state == "running"])
        if kind in DAMAGES:
            name = damage_result(folder, rows, kind, dice)
            record.damaged[name] += 1
            record.checksums.pop(name, None)
        elif kind == "ledger torn":
            tear_ledger(folder, dice)
        driver = Driver(folder)
    driver.wait_until_finished()
    record.see(ledger_rows(folder))
    return record


def _wait_for_a_moment(driver: Driver, left: int, frame_time: float, dice: random.Random) -> None:
    """Let some frames be finished, as many as leave some for each fault to come, and a bit more."""
    driver.wait_until_computing()
    unfinished = _unfinished(driver.folder)
    more = dice.uniform(0.0, 2.0 * unfinished / (left + 1))
    enough = unfinished - min(int(more), unfinished - WORKERS)
    driver.wait_until(lambda: _unfinished(driver.folder) <= enough)
    time.sleep(dice.uniform(0.0, frame_time))


def _unfinished(folder: Path) -> int:
    return sum(row.state != "done" for row in ledger_rows(folder))


def _possible(kind: str, rows: Sequence[Row], worker_kills: int) -> str:
    """Another kind where there is no result to damage, or too many workers were killed in a row."""
    nothing_done = all(row.state != "done" for row in rows)
    if (kind in DAMAGES and nothing_done) or (
        kind == "worker killed" and worker_kills >= _MOST_WORKER_KILLS
    ):
        return "driver killed"
    return kind


def _schedule(faults: int, dice: random.Random) -> list[str]:
    """Every kind as often as the others, in random order."""
    kinds = [KINDS[number % len(KINDS)] for number in range(faults)]
    dice.shuffle(kinds)
    return kinds


def verify(folder: Path, undisturbed: Path, record: Record) -> dict[str, Any]:
    """Figures of a disturbed campaign against one that nobody disturbed, and whether they hold."""
    rows = ledger_rows(folder)
    redone = {row.frame_id: row.attempts - 1 for row in rows}
    too_often = [
        n for n, times in redone.items() if times > record.in_flight[n] + record.damaged[n]
    ]
    outputs = [path / "labels.h5" for path in (folder, undisturbed)]
    for path in outputs:
        collect_campaign(path.parent, path)
    pairs = list(zip(*(read_frames(path) for path in outputs), strict=True))
    energy = max(abs(a.energy - b.energy) for a, b in pairs)
    force = max(float(np.abs(a.mm_forces - b.mm_forces).max(initial=0.0)) for a, b in pairs)
    force = max(force, *(float(np.abs(a.qm_forces - b.qm_forces).max()) for a, b in pairs))
    figures = {
        "frames": len(rows),
        "done": sum(row.state == "done" for row in rows),
        "in_flight_at_faults": sum(record.in_flight.values()),
        "most_in_flight_at_a_fault": record.most_in_flight,
        "results_damaged": sum(record.damaged.values()),
        "calculations": sum(row.attempts for row in rows),
        "redone": sum(redone.values()),
        "redone_without_cause": len(too_often),
        "finished_labels_made_again": len(record.relabelled),
        "result_files": len(list(folder.glob("results/*/*.npz"))),
        "parts_of_files_left": len(list(folder.glob("results/*/.*"))),
        "collected_in_the_same_order": all(a.frame_id == b.frame_id for a, b in pairs),
        "largest_energy_difference_eV": energy,
        "largest_force_difference_eV_per_A": force,
    }
    figures["passed"] = (
        figures["done"] == figures["result_files"] == figures["frames"] == len(pairs)
        and not too_often
        and not record.relabelled
        and record.most_in_flight <= WORKERS
        and figures["collected_in_the_same_order"]
        and energy < ENERGY_TOLERANCE
        and force < FORCE_TOLERANCE
    )
    return figures


def inject(faults: int, n_frames: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run an undisturbed and a disturbed campaign in a folder; the figures of both."""
    frames = cheap_frames(n_frames, seed)
    undisturbed = prepare(folder / "undisturbed", frames)
    Driver(undisturbed).wait_until_finished()
    times = [row.wall_time or 0.0 for row in ledger_rows(undisturbed)]
    begin = time.monotonic()
    disturbed = prepare(folder / "disturbed", frames)
    record = disturb(disturbed, faults, float(np.median(times)), random.Random(seed))
    return {
        "faults": sum(record.kinds.values()),
        "faults_by_kind": dict(sorted(record.kinds.items())),
        "workers": WORKERS,
        "seed": seed,
        "seconds_per_frame": round(float(np.median(times)), 3),
        "seconds_in_all": round(time.monotonic() - begin, 1),
        **verify(disturbed, undisturbed, record),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, write them with their provenance; 0 when all of them are as promised."""
    sys.path.append(str(ROOT))
    from scripts.common import write_results

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = inject(chosen.faults, chosen.frames, chosen.seed, Path(folder))
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    if chosen.output is not None:
        write_results(chosen.output, figures)
    return 0 if figures["passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
