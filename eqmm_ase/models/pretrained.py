"""Models that come with EqMM, by name.

>>> from eqmm_ase.models.pretrained import pretrained_models
>>> pretrained_models()
('sn2-chloride-b3lyp',)
"""

from __future__ import annotations

import difflib
from pathlib import Path

FOLDER = Path(__file__).parent
"""Where they lie."""


def pretrained_models() -> tuple[str, ...]:
    """Names of the models that there are."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.eqmm")))


def pretrained_file(name: str) -> Path:
    """The model file of that name; its card (`eqmm info`) says what it is good for.

    Raises
    ------
    ValueError
        There is no such model.
    """
    path = FOLDER / f"{name}.eqmm"
    if name not in pretrained_models():
        near = difflib.get_close_matches(name, pretrained_models(), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(
            f"there is no pretrained model {name!r}{hint}; EqMM comes with "
            f"{', '.join(pretrained_models())}"
        )
    return path
