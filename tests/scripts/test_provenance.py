"""What every results file says about when, where and with what its figures were measured."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from scripts.provenance import provenance


def test_the_date_is_now_in_utc() -> None:
    date = datetime.fromisoformat(provenance()["date"])
    assert date.utcoffset() == timedelta(0)
    assert abs(datetime.now(timezone.utc) - date) < timedelta(minutes=1)


def test_facts_are_plain_json_with_versions_of_what_is_installed_only() -> None:
    facts = provenance(("numpy", "a-package-that-does-not-exist"))
    assert json.loads(json.dumps(facts)) == facts
    assert set(facts["versions"]) == {"python", "numpy"}
    assert facts["versions"]["numpy"] == version("numpy")
    assert facts["commit"] is None or re.fullmatch(r"[0-9a-f]{40}\+?", facts["commit"])
