"""Frames of GROMACS gro and of PDB files, which may hold many.

MDAnalysis reads the first frame of a gro only, and gives the models of a PDB no box where a single
CRYST1 record stands in front of all of them, or the box of a neighbour where some lack it.

Sources: the gro and PDB formats, manual.gromacs.org and wwpdb.org.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.lattice import box_vectors

NM = 10.0  # Å
_GRO_BOX = ((0, 3, 4), (5, 1, 6), (7, 8, 2))
"""Where the components of the lattice vectors stand on the last line: v1x v2y v3z v1y v1z …"""


@dataclass(frozen=True, eq=False)
class TextFrame:
    """One frame as the file has it."""

    positions: FloatArray | None  # (n, 3) Å; None where they cannot be read
    cell: FloatArray | None  # (3, 3) Å


@dataclass(frozen=True)
class _Place:
    """Where in the file a frame begins, and how many sites it has."""

    offset: int
    n_sites: int
    box: str = ""


def gro_frames(path: Path, which: slice) -> Iterator[tuple[int, TextFrame]]:
    """Frames of a gro file one by one, with their numbers.

    Raises
    ------
    ValueError
        When it is no gro file.
    """
    return _frames(path, which, _find_gro, _read_gro)


def pdb_frames(path: Path, which: slice) -> Iterator[tuple[int, TextFrame]]:
    """Models of a PDB file one by one, with their numbers.

    A CRYST1 record holds for its model, or for all of them where there is one in front.

    Raises
    ------
    ValueError
        When it is no PDB file.
    """
    return _frames(path, which, _find_pdb, _read_pdb)


def _frames(
    path: Path,
    which: slice,
    find: Callable[[IO[str]], list[_Place]],
    read: Callable[[IO[str], _Place], TextFrame],
) -> Iterator[tuple[int, TextFrame]]:
    with path.open(encoding="latin-1") as file:  # titles are written in any encoding
        places = find(file)
        if not places:
            raise ValueError("it holds no atoms")
        for number in range(*which.indices(len(places))):
            file.seek(places[number].offset)
            try:
                yield number, read(file, places[number])
            except (ValueError, IndexError):
                yield number, TextFrame(None, None)


def _find_gro(file: IO[str]) -> list[_Place]:
    """Frames up to the end, or up to a header that is none; the last may be incomplete."""
    places: list[_Place] = []
    while True:
        offset = file.tell()
        title, count = file.readline(), file.readline().strip()
        if not count:
            return places
        if not count.isdecimal():
            if not places:
                raise ValueError(f"its second line is {count[:20]!r}; expected a number of atoms")
            return [*places, _Place(offset, 0)] if title.strip() else places
        places.append(_Place(offset, int(count)))
        for _ in range(int(count) + 1):
            if not file.readline():
                return places


def _read_gro(file: IO[str], place: _Place) -> TextFrame:
    file.readline()
    file.readline()
    lines = [file.readline() for _ in range(place.n_sites)]
    points = [match.start() for match in re.finditer(r"\.", lines[0][20:])]
    width = points[1] - points[0]  # the format has as many digits as the writer liked
    columns = [slice(20 + i * width, 20 + (i + 1) * width) for i in range(3)]
    positions = [[float(line[column]) for column in columns] for line in lines]
    box = [float(x) for x in file.readline().split()]
    if len(box) not in (3, 9):
        raise ValueError("the box has neither three nor nine numbers")
    box += [0.0] * (9 - len(box))
    cell = np.array([[box[i] for i in row] for row in _GRO_BOX])
    return TextFrame(np.array(positions) * NM, cell * NM)


def _find_pdb(file: IO[str]) -> list[_Place]:
    places: list[_Place] = []
    offset, n_sites, box = 0, 0, ""

    def finish() -> None:
        nonlocal n_sites, box
        if n_sites:
            places.append(_Place(offset, n_sites, box))
            n_sites, box = 0, ""

    while line := file.readline():
        record = line[:6].rstrip()
        if record in ("ATOM", "HETATM"):
            n_sites += 1
        elif record in ("MODEL", "ENDMDL", "END"):
            finish()
            offset = file.tell()
        elif record == "CRYST1":
            box = line
    finish()
    shared = places[0].box if places and not any(place.box for place in places[1:]) else ""
    return [_Place(place.offset, place.n_sites, place.box or shared) for place in places]


def _read_pdb(file: IO[str], place: _Place) -> TextFrame:
    positions: list[list[float]] = []
    while len(positions) < place.n_sites:
        line = file.readline()
        if line[:6].rstrip() in ("ATOM", "HETATM"):
            positions.append([float(line[i : i + 8]) for i in (30, 38, 46)])
    return TextFrame(np.array(positions), _crystal(place.box))


def _crystal(record: str) -> FloatArray | None:
    """Lattice vectors of a CRYST1 record; a unit cube, written where there is no box, is none."""
    if not record:
        return None
    lengths = [float(record[i : i + 9]) for i in (6, 15, 24)]
    angles = [float(record[i : i + 7]) for i in (33, 40, 47)]
    return box_vectors([*lengths, *angles])
