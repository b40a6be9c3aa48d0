"""Damage dataset and model files in many ways, read each, and count what came of it.

    python tests/kits/mutations.py --count 1000 --seed 1 --output mutations.json

Bits are flipped, blocks zeroed, swapped, overwritten, inserted and taken out, files cut short and
made longer, attributes and arrays changed with h5py. Each damaged file goes through every door that
reads such files, in a process of its own kind that may crash or hang. What may come of it is a
refusal in one of our sentences, or exactly what the undamaged file holds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from damage_kinds import DAMAGES, EDIT, make_damaged
from places import DATA, ROOT

TIMEOUT = 60.0  # s; reading takes a hundredth of one, or more on a busy machine
REFUSED, SAME, DIFFERENT, FOREIGN = "refused", "read identically", "differs", "foreign exception"
HANG, CRASH = "hang", "crash"
FRAME_BY_FRAME = "frame by frame"
WRONG = (DIFFERENT, FOREIGN, HANG, CRASH)
"""What must not come of a damaged file."""


class DatasetReader:
    """Opens every door that reads a dataset; made in the process that may die."""

    def __init__(self, original: Path) -> None:
        from eqmm_ase.files.dataset_file import ReferenceData

        with ReferenceData(original) as data:
            self.frames, self.method = data.load(), data.method
            self.hash, self.media = data.content_hash, data.media

    def outcomes(self, path: Path) -> list[tuple[str, str, str]]:
        """(door, outcome, message) of a damaged file."""
        doors = {"read_frames": self._read, FRAME_BY_FRAME: self._each, "facts": self._facts}
        found = [_outcome(name, door, path) for name, door in doors.items()]
        if found[0][1] != SAME:
            found += [_outcome(name, door, path) for name, door in _other_doors().items()]
        return found

    def _read(self, path: Path) -> bool:
        from eqmm_ase.files.dataset_file import ReferenceData

        with ReferenceData(path) as data:
            return data.method == self.method and same_frames(data.load(), self.frames)

    def _each(self, path: Path) -> bool:
        """A frame that is refused must not keep others from being right."""
        from eqmm_ase.files.dataset_file import DatasetError, ReferenceData

        refusal = None
        with ReferenceData(path) as data:
            if len(data) != len(self.frames):
                return False
            for number, frame in enumerate(self.frames):
                try:
                    if not same_frames([data[number]], [frame]):
                        return False
                except DatasetError as error:
                    refusal = error
        if refusal:
            raise refusal
        return True

    def _facts(self, path: Path) -> bool:
        from eqmm_ase.files.dataset_file import ReferenceData

        with ReferenceData(path) as data:
            return data.media == self.media and data.content_hash == self.hash


def _other_doors() -> dict[str, Callable[[Path], Any]]:
    """Everything else that is given datasets; here only how it refuses is looked at."""
    from datagen.datasets.export import export
    from datagen.datasets.merge import merge
    from datagen.datasets.split import choose_sources
    from eqmm_ase.evaluation.tables import dataset_table
    from eqmm_ase.files.structures import read_structure
    from eqmm_ase.training.data import read_files

    return {
        "info": dataset_table,
        "train": lambda path: read_files([path]),
        "structure": lambda path: read_structure(f"{path}:0"),
        "merge": lambda path: merge([path], path.with_name("merged.h5")),
        "split": lambda path: choose_sources(path, 0.3, 1),
        "export": lambda path: export(path, path.with_suffix(".npz")),
    }


class ModelReader:
    """Loads a model file."""

    def __init__(self, original: Path) -> None:
        self.content = self._content(original)

    def outcomes(self, path: Path) -> list[tuple[str, str, str]]:
        """(door, outcome, message) of a damaged file."""
        return [_outcome("load_model", lambda p: self._content(p) == self.content, path)]

    def _content(self, path: Path) -> Any:
        from eqmm_ase.network.model_file import load_model

        model, card = load_model(path)
        tensors = {k: (str(t.dtype), t.numpy().tobytes()) for k, t in model.state_dict().items()}
        return card, model.config, tensors


READERS = {"dataset": DatasetReader, "model": ModelReader}


def same_frames(found: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Whether frames agree in every bit of every field."""
    import numpy as np

    from eqmm_ase.data.frame_fields import known_values

    def plain(value: Any) -> Any:
        array = np.asarray(value)
        return value if isinstance(value, str) else (array.dtype.str, array.shape, array.tobytes())

    both = [
        [{name: plain(v) for name, v in known_values(frame).items()} for frame in frames]
        for frames in (found, expected)
    ]
    return bool(both[0] == both[1])


def _outcome(name: str, door: Callable[[Path], Any], path: Path) -> tuple[str, str, str]:
    try:
        result = door(path)
    except Exception as error:
        from eqmm_ase.command_line import _is_for_the_user as is_for_the_user

        ours = is_for_the_user(error) and not isinstance(error, OSError)
        one_sentence = "\n" not in str(error) and len(str(error)) < 600
        kind = REFUSED if ours and one_sentence else FOREIGN
        return name, kind, f"{type(error).__name__}: {error}"
    return name, DIFFERENT if result is False else SAME, ""


def _serve(connection: Any, load_all: bool) -> None:
    """Answer questions about damaged files until there are no more; the process that may die."""
    if load_all:
        import eqmm_ase.network.model_file  # noqa: F401

        _other_doors()
    connection.send("ready")
    readers: dict[Path, Any] = {}
    while (question := connection.recv()) is not None:
        kind, original, path = question
        if original not in readers:
            readers[original] = READERS[kind](original)
        connection.send(readers[original].outcomes(path))


class Guarded:
    """A reading process that is replaced when it crashes or hangs. Use as a context manager.

    Parameters
    ----------
    load_all
        Whether to load everything beforehand, which takes longer than any reading.
    """

    def __init__(self, load_all: bool = True) -> None:
        self._load_all = load_all

    def __enter__(self) -> Guarded:
        context = get_context("spawn")
        self._own, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._load_all), daemon=True)
        self._process.start()
        other.close()
        self._own.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._own.close()

    def outcomes(
        self, kind: str, original: Path, path: Path, timeout: float = TIMEOUT
    ) -> list[tuple[str, str, str]]:
        """What came of reading a damaged copy."""
        try:
            self._own.send((kind, original, path))  # fails where the process has already died
            if self._own.poll(timeout):
                answer: list[tuple[str, str, str]] = self._own.recv()
                return answer
            outcome = HANG
        except (EOFError, ConnectionError):
            outcome = CRASH
        self.__exit__()
        self.__enter__()
        return [("process", outcome, "")]


def mutate(
    worker: Guarded, kind: str, original: Path, count: int, seed: int
) -> tuple[dict[str, Counter[str]], list[dict[str, Any]]]:
    """Read so many damaged copies of a file, which are made beside it.

    Returns
    -------
    Damage → outcome → how often, the worst of all doors counting; and what went wrong, with the
    number that makes the same damage again.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*DAMAGES, EDIT)}
    wrong: list[dict[str, Any]] = []
    order = (SAME, REFUSED, *WRONG)
    for number in range(count):
        path = original.with_name(f"damaged-{number}{original.suffix}")
        damage = make_damaged(kind, original, path, seed, number)
        found = worker.outcomes(kind, original, path)
        if damage == EDIT:  # a single frame is what it was made to be on purpose
            found = [x for x in found if x[:2] != (FRAME_BY_FRAME, DIFFERENT)]
        worst = max((outcome for _, outcome, _ in found), key=order.index)
        counts[damage][worst] += 1
        if worst in WRONG:
            doors = [entry for entry in found if entry[1] in WRONG]
            wrong.append({"number": number, "seed": seed, "damage": damage, "doors": doors})
        path.unlink()
    return counts, wrong


def sources(folder: Path) -> dict[str, tuple[str, Path]]:
    """Name → (kind, file) of what is damaged: small files, so that every part of them is hit."""
    import torch
    from frames_kit import frames_of_every_kind, write_as_before

    from eqmm_ase.files.dataset_file import ReferenceData, write_frames
    from eqmm_ase.network.committee import Committee
    from eqmm_ase.network.model import ModelConfig, MultiscaleModel
    from eqmm_ase.network.model_file import save_model

    with ReferenceData(DATA / "methanol.h5") as data:
        methanol, method = data[:2], data.method
    every = frames_of_every_kind()
    write_frames(folder / "every_field.h5", every, method)
    write_frames(folder / "methanol.h5", methanol, method)
    write_as_before(folder / "earlier_version.h5", every, method)
    torch.manual_seed(1)
    tiny = ModelConfig(
        (1, 8), l_expansion=1, l_hidden=1, channels=2, n_layers=1, n_radial=2, n_near=0, hidden=2
    )
    models = [MultiscaleModel(tiny) for _ in range(2)]
    card = {"method": method, "about": "made to be damaged"}
    save_model(folder / "single.eqmm", models[0], card)
    save_model(folder / "committee.eqmm", Committee(models), card)
    return {
        "dataset, every field": ("dataset", folder / "every_field.h5"),
        "dataset, methanol": ("dataset", folder / "methanol.h5"),
        EARLIER: ("dataset", folder / "earlier_version.h5"),
        "model, single": ("model", folder / "single.eqmm"),
        "model, committee": ("model", folder / "committee.eqmm"),
    }


EARLIER = "dataset, earlier version without checksums"
"""A wrong number in it cannot be noticed; everything else must not happen there either."""


def run(count: int, seed: int) -> dict[str, Any]:
    """Damage each source: datasets and models so many times together, the earlier version half."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, Guarded() as worker:
        for title, (kind, path) in sources(Path(name)).items():
            counts, wrong = mutate(worker, kind, path, count // 2, seed)
            if title == EARLIER:
                wrong = [x for x in wrong if {door[1] for door in x["doors"]} - {DIFFERENT}]
            results[title] = {
                "files": count // 2,
                "bytes": path.stat().st_size,
                "outcomes": dict(sum(counts.values(), Counter())),
                "by_damage": {damage: dict(found) for damage, found in counts.items()},
                "wrong": wrong,
            }
            print(title, results[title]["outcomes"])
    return {"seed": seed, "passed": not any(r["wrong"] for r in results.values()), **results}


def main() -> int:
    """Run as a program; 1 when something happened that must not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="damaged datasets, and models")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON file for the counts")
    options = parser.parse_args()
    sys.path.append(str(ROOT))
    from scripts.common import write_results

    results = run(options.count, options.seed)
    if options.output:
        content = {**results, "hdf5": hdf5_version()}
        packages = ("eqmm", "h5py", "numpy", "safetensors", "torch")
        write_results(options.output, content, packages)
    return 0 if results["passed"] else 1


def hdf5_version() -> str:
    """Of the library behind h5py."""
    import h5py

    return str(h5py.version.hdf5_version)


if __name__ == "__main__":
    sys.exit(main())
