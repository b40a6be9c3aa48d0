"""How bonds are cut in a run: as in the frames that the model was trained on, or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast, get_args

from eqmm_ase.cutting.redistribution import RedistributionName
from eqmm_ase.data.boundary import CapRule
from eqmm_ase.uncertainty.domain import DomainWarning

_DEFAULTS = {"redistribution": "rcd", "cap_rule": "scaled"}


class CutBondsError(ValueError):
    """A run would cut bonds otherwise than the labels did; the message is one sentence."""


def rules_of_run(
    card: Mapping[str, Any],
    redistribution: RedistributionName | None,
    cap_rule: CapRule | None,
    n_bonds: int,
) -> tuple[RedistributionName, CapRule]:
    """Redistribution and rule of caps for a run.

    Parameters
    ----------
    card
        Of the model, whose ``cut_bonds`` say how bonds were cut in its training frames.
    redistribution, cap_rule
        As the user wants them; None: as in training.
    n_bonds
        How many bonds the run cuts.

    Raises
    ------
    CutBondsError
        When the model was trained on bonds that were cut otherwise, or in several ways.
    """
    wanted = {"redistribution": redistribution, "cap_rule": cap_rule}
    known = card.get("cut_bonds")
    if n_bonds and known is not None and not known:
        warnings.warn(
            f"the run cuts {n_bonds} bonds, and the model was trained on frames without cut bonds; "
            "results may be wrong",
            DomainWarning,
            stacklevel=3,
        )
    chosen = {}
    for name, value in wanted.items():
        trained = sorted({rules[name] for rules in known or ()})
        if n_bonds and value is not None and trained and value not in trained:
            raise CutBondsError(
                f"{name} is {value!r}, and the model was trained with {', '.join(trained)}; leave "
                "it out, or train on frames that were cut so"
            )
        if n_bonds and value is None and len(trained) > 1:
            raise CutBondsError(
                f"the model was trained with several kinds of {name} ({', '.join(trained)}); give "
                "one of them"
            )
        chosen[name] = value or (trained[0] if trained else _DEFAULTS[name])
    assert chosen["cap_rule"] in get_args(CapRule)
    return cast(RedistributionName, chosen["redistribution"]), cast(CapRule, chosen["cap_rule"])
