"""The check of public topologies notices what is wrong, on files made here."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("parmed")
pytest.importorskip("MDAnalysis")

from scripts.benchmarks.independent_topology import read_reference
from scripts.benchmarks.public_topologies import check
from scripts.benchmarks.public_topology_cases import Case

ATOM = "{:8d} {:4s} {:<4d} {:4s} {:4s} {:6s} {:10.6f} {:12.4f}           0"
WATER = (("OH2", "OT", -0.834, 15.9994), ("H1", "HT", 0.417, 1.008), ("H2", "HT", 0.417, 1.008))


def _waters(folder: Path, name: str = "x.psf", charge: float = 0.417) -> Path:
    """Two waters; the charge is of the last atom."""
    lines = ["PSF", "", "       1 !NTITLE", " REMARKS two waters", "", "       6 !NATOM"]
    for water in range(2):
        for k, (atom, kind, q, mass) in enumerate(WATER):
            serial = 3 * water + k + 1
            q = charge if serial == 6 else q
            lines.append(ATOM.format(serial, "WAT", water + 1, "TIP3", atom, kind, q, mass))
    bonds = "".join(f"{i:8d}" for i in (1, 2, 1, 3, 4, 5, 4, 6))
    (folder / name).write_text("\n".join([*lines, "", "       4 !NBOND: bonds", bonds, ""]) + "\n")
    places = [(0, 0, 0), (0.96, 0, 0), (-0.24, 0.93, 0)]
    rows = [f"X {x + 3 * water} {y} {z}" for water in range(2) for x, y, z in places]
    (folder / "x.xyz").write_text("\n".join(["6", "", *rows]) + "\n")
    return folder / name


def _check(folder: Path, **more: object) -> dict:
    case = Case("psf", folder / "x.psf", folder / "x.xyz", "resid 1", ("--isolated",), **more)
    return check(case, folder)


def test_what_agrees_with_the_other_reader_worked(tmp_path):
    _waters(tmp_path)
    row = _check(tmp_path)
    assert (row["outcome"], row["n_qm"], row["n_mm"]) == ("worked", 3, 3)
    assert row["says"] == "H2O, total charge 0, singlet"


def test_other_charges_and_elements_are_wrong(tmp_path):
    _waters(tmp_path)
    row = _check(tmp_path, original=_waters(tmp_path, "y.psf", charge=0.41))
    assert (row["outcome"], row["says"]) == ("wrong", "MM charges differ by 0.007 e")
    other = tmp_path / "z.psf"
    other.write_text((tmp_path / "x.psf").read_text().replace("15.9994", "14.0070"))
    assert read_reference(other).numbers.tolist() == [7, 1, 1, 7, 1, 1]
    row = _check(tmp_path, original=other)
    assert row["says"] == "elements are [8, 1, 1], expected [7, 1, 1]"


def test_refusals_are_right_where_they_are_expected(tmp_path):
    _waters(tmp_path)
    (tmp_path / "x.psf").write_text("PSF\n")
    row = _check(tmp_path, refused="has no atoms")
    assert (row["outcome"], row["says"]) == (
        "refused rightly",
        "error: x.psf has no atoms; is it complete?",
    )
    assert _check(tmp_path)["outcome"] == "wrong"
    _waters(tmp_path)
    assert _check(tmp_path, refused="has no atoms")["outcome"] == "wrong"
