"""A run cuts bonds as the training frames were cut."""

from __future__ import annotations

import numpy as np
import pytest
from dipeptide_kit import ACETYL_METHYL, BETA_METHYL, cut

from eqmm_ase.data.boundary import cutting_rules
from eqmm_ase.engines.cut_bonds import CutBondsError, rules_of_run
from eqmm_ase.uncertainty.domain import DomainWarning

SHIFT = {"cut_bonds": [{"redistribution": "shift", "cap_rule": "fixed"}]}
TWO = {
    "cut_bonds": [
        {"redistribution": "rcd", "cap_rule": "scaled"},
        {"redistribution": "zero", "cap_rule": "scaled"},
    ]
}


def test_rules_of_frames_are_collected_once_each() -> None:
    frames = [
        cut(ACETYL_METHYL, redistribution="shift", cap_rule="fixed"),
        cut(BETA_METHYL, redistribution="shift", cap_rule="fixed"),
        cut(tuple(np.arange(22))),
    ]
    assert cutting_rules(f.boundary for f in frames) == SHIFT["cut_bonds"]
    assert cutting_rules([None]) == []


def test_the_rules_of_training_are_the_default() -> None:
    assert rules_of_run(SHIFT, None, None, 1) == ("shift", "fixed")
    assert rules_of_run({}, None, None, 1) == ("rcd", "scaled")
    assert rules_of_run(SHIFT, "shift", "fixed", 1) == ("shift", "fixed")


def test_other_rules_than_those_of_training_are_refused() -> None:
    with pytest.raises(CutBondsError, match=r"'zero', and the model was trained with shift; leave"):
        rules_of_run(SHIFT, "zero", None, 1)
    with pytest.raises(CutBondsError, match="cap_rule is 'scaled'"):
        rules_of_run(SHIFT, None, "scaled", 1)
    with pytest.raises(CutBondsError, match=r"several kinds of redistribution \(rcd, zero\); give"):
        rules_of_run(TWO, None, None, 1)
    assert rules_of_run(TWO, "zero", None, 1) == ("zero", "scaled")


def test_cut_bonds_that_training_did_not_have_are_warned_about() -> None:
    with pytest.warns(DomainWarning, match="trained on frames without cut bonds"):
        rules_of_run({"cut_bonds": []}, None, None, 2)


def test_without_cut_bonds_nothing_is_asked() -> None:
    assert rules_of_run(SHIFT, "zero", None, 0)[0] == "zero"
    assert rules_of_run({"cut_bonds": []}, None, None, 0) == ("rcd", "scaled")
