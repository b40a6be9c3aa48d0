"""What scripts share: where data, results and pictures lie, and how results are written.

Scripts are run as modules from the root of the repository, `python -m scripts.studies.ablation`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FLAGSHIP = ROOT / "scripts" / "flagship"
IMAGES = ROOT / "scripts" / "images"
RESULTS = ROOT / "scripts" / "results"
TEST_DATA = ROOT / "tests" / "data"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write results for people to read and programs to load."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
