"""Kinds of damage that a file may take: on disks, in transfers, by programs and by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    """One to eight bits anywhere."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zero_block(content: bytes, rng: random.Random) -> bytes:
    """A hole, as a lost block of a disk leaves it."""
    start, size = _block(content, rng)
    return content[:start] + bytes(size) + content[start + size :]


def overwrite_block(content: bytes, rng: random.Random) -> bytes:
    """Random bytes over a block."""
    start, size = _block(content, rng)
    return content[:start] + rng.randbytes(size) + content[start + size :]


def swap_blocks(content: bytes, rng: random.Random) -> bytes:
    """Two blocks in each other's place."""
    size = rng.choice((8, 64, 256))
    a, b = sorted(rng.sample(range(len(content) // size), 2))
    parts = [content[i : i + size] for i in range(0, len(content), size)]
    parts[a], parts[b] = parts[b], parts[a]
    return b"".join(parts)


def cut_short(content: bytes, rng: random.Random) -> bytes:
    """A copy that was interrupted."""
    return content[: rng.randrange(len(content))]


def make_longer(content: bytes, rng: random.Random) -> bytes:
    """Something behind the end."""
    return content + rng.randbytes(rng.choice((1, 100, 5000)))


def insert(content: bytes, rng: random.Random) -> bytes:
    """Bytes in between, as a transfer in text mode puts them."""
    start = rng.randrange(len(content))
    return content[:start] + rng.choice((b"\r", bytes(8), rng.randbytes(64))) + content[start:]


def take_out(content: bytes, rng: random.Random) -> bytes:
    """A block lost, and everything behind it moved up."""
    start, size = _block(content, rng)
    return content[:start] + content[start + size :]


DAMAGES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    f.__name__.replace("_", " "): f
    for f in (
        flip_bits,
        zero_block,
        overwrite_block,
        swap_blocks,
        cut_short,
        make_longer,
        insert,
        take_out,
    )
}
EDIT = "edit"


def _block(content: bytes, rng: random.Random) -> tuple[int, int]:
    size = min(rng.choice((1, 4, 16, 64, 512, 4096)), len(content) // 2)
    return rng.randrange(len(content) - size), size


def edit_dataset(path: Path, rng: random.Random) -> None:
    """Change an attribute or an array as a user of h5py would."""
    import h5py
    import numpy as np

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = rng.choice(names)
        attribute = rng.choice(sorted(file.attrs))
        values = ["x", "{}", "[1]", '{"functional": "hf"}', 7, 1e300, np.zeros(3), np.nan]
        kind = rng.choice(("attribute", "no attribute", "value", "no array", "array", "renamed"))
        if kind == "attribute":
            file.attrs[attribute] = rng.choice(values)
        elif kind == "no attribute":
            del file.attrs[attribute]
        elif kind == "value" and isinstance(file[name], h5py.Dataset) and file[name].size:
            content = file[name][:]
            place = (rng.randrange(len(content)),)
            if content.dtype.kind in "fiu":
                content[place] = content[place] + rng.choice((1, -1, 1000))
            else:
                content[place] = b"another"
            file[name][...] = content
        elif kind == "renamed":
            file.move(name, rng.choice((f"{name}_", "other/place", "charges/new")))
        else:
            del file[name]
            if kind == "array":
                file[name] = rng.choice((np.zeros(2), np.zeros((4, 3)), np.arange(4), "text"))


def edit_model(path: Path, rng: random.Random) -> None:
    """Change the header or a tensor, and keep the file a valid safetensors file."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name, entry = rng.choice(sorted(tensors)), rng.choice(sorted(header))
    kind = rng.choice(("entry", "no entry", "tensor", "no tensor", "new tensor", "dtype"))
    if kind == "entry":
        header[entry] = rng.choice(("", "{}", "2", "eqmm", header[entry].replace("1", "2")))
    elif kind == "no entry":
        del header[entry]
    elif kind == "tensor":
        tensors[name] = tensors[name] + 1
    elif kind == "no tensor":
        del tensors[name]
    elif kind == "new tensor":
        tensors["members.7.weight"] = torch.zeros(2)
    else:
        tensors[name] = tensors[name].to(torch.float16)
    save_file(tensors, path, metadata=header)


EDITS: Mapping[str, Callable[[Path, random.Random], None]] = {
    "dataset": edit_dataset,
    "model": edit_model,
}


def make_damaged(kind: str, original: Path, path: Path, seed: int, number: int) -> str:
    """Write the damaged copy of this number and return the kind of its damage."""
    rng = random.Random(f"{seed}-{original.name}-{number}")
    damage = (*DAMAGES, EDIT)[number % (len(DAMAGES) + 1)]
    content = original.read_bytes()
    path.write_bytes(content if damage == EDIT else DAMAGES[damage](content, rng))
    if damage == EDIT:
        EDITS[kind](path, rng)
    return damage
