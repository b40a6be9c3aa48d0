"""The site builds without a warning, and every link within it leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from page_kit import DOCS, pages
from places import ROOT

pytest.importorskip("sphinx")


class Links(HTMLParser):
    """What a page links to, shows and can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; any warning fails, as in scripts/build_docs."""
    folder = tmp_path_factory.mktemp("site")
    script = (ROOT / "scripts" / "build_docs").read_text(encoding="utf-8")
    (options,) = re.findall(r'^"\$python" -m (sphinx [^"]*?)"\$@"$', script, re.M | re.S)
    words = options.replace("\\\n", "").replace("build/docs", str(folder)).split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_built(site: Path) -> None:
    for page in pages():
        assert (site / f"{page}.html").is_file(), page


@pytest.mark.slow
def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    found = {path: Links(path) for path in site.rglob("*.html")}
    broken = []
    for path, links in found.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = found[to].anchors if to in found else set()
            if not to.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append(f"{path.relative_to(site)}: {target}")
    assert broken == []


def test_files_of_the_repository_that_pages_name_exist() -> None:
    for path in DOCS.rglob("*.md"):
        for name in re.findall(r"`(scripts/[\w./]+)`", path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{path.name} names {name}"
