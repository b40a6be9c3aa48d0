"""The model file: weights and plain configuration in one safetensors file, no code, no pickle.

The header (safetensors metadata, all strings) holds

======================  ==============================================================
``format``              ``eqmm-model``
``format_version``      1
``config``              JSON of `eqmm_ase.network.model.ModelConfig`
``card``                JSON: what the model is, was trained on and how good it is
``sha256``              of the three above and every tensor, so that damage is noticed
======================  ==============================================================

The tensors are the model's state; in the file of a committee (`eqmm_ase.network.committee`), whose
members share the configuration, those of member k are called ``members.<k>.<name>``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.network.committee import Committee, members_of
from eqmm_ase.network.model import ModelConfig, MultiscaleModel

FORMAT = "eqmm-model"
VERSION = 1
UNITS = {
    "energy": "eV",
    "length": "Å",
    "charge": "e",
    "force": "eV/Å",
    "potential": "V",
    "dipole": "e·Å",
}

Header = dict[str, Any]
Tensors = dict[str, torch.Tensor]
AnyModel = TypeVar("AnyModel", bound=MultiscaleModel | Committee)

UPGRADES: dict[int, Callable[[Header, Tensors], tuple[Header, Tensors]]] = {}
"""Version n → function that turns the header and tensors of version n into those of n + 1.

Of a committee it sees one member at a time, under the names that a single model's tensors have.
"""


class ModelFileError(ValueError):
    """The file is not a model that this version of EqMM can use; the message says why."""


def save_model(
    path: str | os.PathLike[str],
    model: MultiscaleModel | Committee,
    card: Mapping[str, Any],
) -> None:
    """Write a model file, atomically.

    Parameters
    ----------
    path
        An existing file is replaced in one step.
    model
        A model or a committee; its floating-point precision is kept.
    card
        Plain JSON values. Units, cutoff, elements, order L, EqMM version and time are added from
        the model itself.

    Raises
    ------
    ModelFileError
        When the card is not JSON or the weights are not finite.
    OSError
        When the file cannot be written.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    _check_finite(tensors, str(path))
    try:
        header = {
            "format": FORMAT,
            "format_version": str(VERSION),
            "config": json.dumps(model.config.to_dict(), sort_keys=True, allow_nan=False),
            "card": json.dumps({**card, **_facts(model)}, ensure_ascii=False),
        }
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"the card of {path} must hold plain JSON values ({error})") from error
    header["sha256"] = _digest(header, tensors)
    with atomic_path(path) as temporary:
        temporary.write_bytes(serialize(tensors, metadata=header))


def load_model(
    path: str | os.PathLike[str],
) -> tuple[MultiscaleModel | Committee, dict[str, Any]]:
    """Read a model file, of this version or any earlier one.

    Parameters
    ----------
    path
        A file written by `save_model`.

    Returns
    -------
    model
        A model or a committee; on the CPU, in evaluation mode, in the floating-point precision
        (float32 or float64) that it was saved in.
    card
        What was saved with it.

    Raises
    ------
    ModelFileError
        When the file is foreign, truncated, damaged, from a newer EqMM, or does not fit.
    FileNotFoundError
        When there is no such file.
    """
    name = str(path)
    header, tensors = _read(name)
    version = _checked_version(header, name)
    if header.get("sha256") != _digest(header, tensors):
        raise ModelFileError(f"{name} is damaged: its contents do not match their checksum")
    parts = _by_member(tensors, name)
    if parts is None:
        return _built(header, tensors, version, name)
    built = [_built(header, part, version, name) for part in parts]
    return Committee(member for member, _ in built).eval(), built[0][1]


def cast(model: AnyModel, dtype: torch.dtype) -> AnyModel:
    """Give the weights another width, in place; the atomic energies stay float64.

    ``model.float()`` would narrow those too, and −10⁵ eV in float32 is known to 0.01 eV only.
    """
    for member in members_of(model):
        atomic_energies = member.atomic_energies
        member.to(dtype)
        member.atomic_energies = atomic_energies
    return model


def _facts(model: MultiscaleModel | Committee) -> dict[str, Any]:
    members = {"n_members": len(model.members)} if isinstance(model, Committee) else {}
    return {
        **members,
        "units": UNITS,
        "cutoff": model.config.cutoff,
        "elements": list(model.config.elements),
        "l_expansion": model.config.l_expansion,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "eqmm_version": _eqmm_version(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _eqmm_version() -> str:
    try:
        return metadata.version("eqmm")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def _read(name: str) -> tuple[Header, Tensors]:
    if not Path(name).exists():
        raise FileNotFoundError(f"there is no model file {name}")
    if not Path(name).is_file():
        raise ModelFileError(f"{name} is not a file, so it cannot be an {FORMAT} file")
    try:
        with safe_open(name, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    # Which of these a damaged header ends in depends on the byte that is wrong.
    except (SafetensorError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelFileError(
            f"{name} is not an {FORMAT} file, or is truncated ({short_reason(error)})"
        ) from error
    return header, tensors


def _checked_version(header: Header, name: str) -> int:
    if header.get("format") != FORMAT:
        raise ModelFileError(
            f"{name} is a safetensors file without the format mark {FORMAT!r}: not made by EqMM"
        )
    found = str(header.get("format_version"))
    version = int(found) if found.isdecimal() else 0
    if version > VERSION:
        raise ModelFileError(
            f"{name} has format version {version}, newer than the {VERSION} that this EqMM reads; "
            "update EqMM"
        )
    if version < VERSION and version not in UPGRADES:
        raise ModelFileError(f"{name} has the unknown format version {found!r}")
    return version


def _by_member(tensors: Tensors, name: str) -> list[Tensors] | None:
    """Tensors of each member of a committee under their own names; None: of a single model."""
    parts: dict[int, Tensors] = {}
    for key, tensor in tensors.items():
        if found := re.fullmatch(r"members\.(\d+)\.(.+)", key):
            parts.setdefault(int(found[1]), {})[found[2]] = tensor
    if not parts:
        return None
    if sum(map(len, parts.values())) != len(tensors) or set(parts) != set(range(len(parts))):
        raise ModelFileError(f"{name} is a committee with tensors that belong to no member of it")
    return [parts[number] for number in range(len(parts))]


def _built(
    header: Header, tensors: Tensors, version: int, name: str
) -> tuple[MultiscaleModel, dict[str, Any]]:
    """One model from the header and tensors of any version."""
    while version < VERSION:
        header, tensors = UPGRADES[version](header, tensors)
        version += 1
    model, card = _from_header(header, name)
    return _fill(model, tensors, name).eval(), card


def _from_header(header: Header, name: str) -> tuple[MultiscaleModel, dict[str, Any]]:
    try:
        card = dict(json.loads(header["card"]))
        return MultiscaleModel(ModelConfig.from_dict(json.loads(header["config"]))), card
    # A configuration of the wrong kind fails wherever the network first uses it.
    except (AssertionError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelFileError(f"the header of {name} cannot be understood ({reason})") from error


def _digest(header: Header, tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for key in ("format", "format_version", "config", "card"):
        digest.update(f"{key}\0{header.get(key)}\0".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _fill(model: MultiscaleModel, tensors: Tensors, name: str) -> MultiscaleModel:
    expected = model.state_dict()
    for kind, names in (
        ("lacks", expected.keys() - tensors.keys()),
        ("has the unknown", tensors.keys() - expected.keys()),
    ):
        if names:
            raise ModelFileError(f"{name} {kind} tensors {', '.join(sorted(names)[:3])}")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise ModelFileError(
                f"{name}: tensor {key!r} has shape {tuple(tensor.shape)}, "
                f"but its configuration asks for {tuple(expected[key].shape)}"
            )
    _check_finite(tensors, name)
    if any(tensors[key].dtype == torch.float64 for key, _ in model.named_parameters()):
        model.double()
    model.load_state_dict(tensors)
    return model


def _check_finite(tensors: Tensors, name: str) -> None:
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelFileError(f"{name}: tensor {key!r} holds NaN or infinite numbers")
