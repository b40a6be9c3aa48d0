"""A campaign that is killed at random moments ends with the labels of one that was left alone."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import fault_injection
import pytest
from fault_injection import inject

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.mark.slow  # seven drivers, each with workers that load PySCF
def test_five_faults_cost_no_more_than_the_frames_in_flight(tmp_path: Path) -> None:
    figures = inject(5, 12, seed=3, folder=tmp_path)
    assert figures["faults"] == 5
    assert figures["calculations"] > figures["frames"] == 12, "no fault met a frame in flight"
    assert figures["redone"] <= figures["in_flight_at_faults"] + figures["results_damaged"]
    assert figures["finished_labels_made_again"] == 0
    assert figures["passed"], figures


def test_every_kind_of_fault_is_scheduled_equally_often() -> None:
    kinds = Counter(fault_injection._schedule(50, random.Random(1)))
    assert set(kinds) == set(fault_injection.KINDS)
    assert max(kinds.values()) - min(kinds.values()) <= 1
