"""Every block of the documentation runs, as it stands there, with fewer frames and steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from page_kit import (
    EXACT,
    NOT_RUN,
    SHORTER,
    START_AFTER,
    TRAINED,
    PageRun,
    assert_same_output,
    blocks,
    pages,
)
from places import ROOT

PAGES = pages()
WITH_BLOCKS = [page for page in PAGES if blocks(page)]
RUN = {"bash", "python", "yaml"}


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that a page leaves behind, like a clone's; each page is run once."""
    folders: dict[str, Path] = {}

    def folder_after(page: str) -> Path:
        if page not in folders:
            folder = tmp_path_factory.mktemp(page.replace("/", "-"))
            if before := START_AFTER.get(page):
                shutil.copytree(folder_after(before), folder, symlinks=True, dirs_exist_ok=True)
            else:  # as in a clone
                (folder / "scripts").symlink_to(ROOT / "scripts")
            for name, file in TRAINED.get(page, {}).items():
                shutil.copy(file, folder / name)
            PageRun(page, folder).all_blocks()
            folders[page] = folder
        return folders[page]

    return folder_after


@pytest.mark.slow  # every command is a program that loads PyTorch
@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_every_block_of_a_page_runs(page: str, after: Callable[[str], Path]) -> None:
    after(page)


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_no_block_is_left_out(page: str) -> None:
    before = ""
    for block in blocks(page):
        where = f"{page}.md:{block.line} ({block.language})"
        assert block.language in RUN | {"text", "console"}, where
        if block.language == "text":
            assert before in RUN, f"{where} follows nothing that prints"
        if block.language == "console":
            assert (page, block.text.splitlines()[0]) in NOT_RUN, where
        before = block.language


def test_what_is_listed_is_on_the_pages() -> None:
    consoles = {
        (page, block.text.splitlines()[0])
        for page in WITH_BLOCKS
        for block in blocks(page)
        if block.language == "console"
    }
    assert consoles == set(NOT_RUN)
    assert {*SHORTER, *START_AFTER, *START_AFTER.values(), *EXACT, *TRAINED} <= set(PAGES)
    for page, numbers in SHORTER.items():
        text = "".join(block.text for block in blocks(page))
        for name in numbers:
            assert f"\n{name} = " in f"\n{text}", f"{page} has no number {name}"


@pytest.mark.parametrize(
    ("printed", "stated"),
    [("12.31 eV", "12.5 eV"), ("12.31 eV", "12.31 meV"), ("", "12.31"), ("1 2", "1")],
)
def test_another_output_is_noticed(printed: str, stated: str) -> None:
    with pytest.raises(AssertionError):
        assert_same_output(printed, stated, "here")
