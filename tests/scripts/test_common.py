"""What scripts share: results files, tables of figures, the command line, pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from eqmm_ase.files.dataset_file import read_frames
from scripts.common import RESULTS, TEST_DATA, argument_parser, text_table, write_results
from scripts.flagship.flagship_data import COORDINATE, zeta
from scripts.pictures import few, picture
from scripts.provenance import provenance
from scripts.studies import mechanical_embedding
from scripts.studies.active_learning import SETTINGS


def test_results_are_figures_and_then_where_they_were_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    said = write_results(path, {"energy / Å": 0.1234, "rows": [1, None]}, ("numpy", "no-package"))
    text = path.read_text(encoding="utf-8")
    assert text == said + "\n"
    assert text.startswith('{\n "energy / Å": 0.1234,\n "rows": [')
    content = json.loads(text)
    assert list(content) == ["energy / Å", "rows", *provenance()]
    assert set(content["versions"]) == {"python", "numpy"}
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_results_that_cannot_be_written_leave_the_former_ones(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, {"energy": 1.0})
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_results(path, {"energy": {1.0}})
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_results_in_the_repository_say_where_they_were_made(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    places = content["cells"].values() if "cells" in content else [content]
    for place in places:
        assert place["hardware"]["cpu"]
        assert place["versions"]["python"]
        assert len(place["commit"].rstrip("+")) == 40


def test_a_table_has_columns_as_wide_as_they_must_be() -> None:
    columns = [("", ""), ("E", ".2f"), ("F(MM)", ".1%"), ("E", ".2f")]
    rows = [("short", 1.0, 0.123, None), ("rather long", 123.456, 1.0, -2.0)]
    assert text_table(columns, rows, [("", 1), ("water", 2), ("gas", 1)]).splitlines() == [
        "                 water        gas",
        "                  E   F(MM)      E",
        "short          1.00   12.3%      –",
        "rather long  123.46  100.0%  -2.00",
    ]


def test_a_row_without_a_column_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        text_table([("a", "d"), ("b", "d")], [(1,)])


def test_the_command_line_asks_for_an_output_that_has_no_default(capsys) -> None:
    about = "What it does.\n\nHow it does that."
    assert argument_parser(about).description == "What it does."
    assert vars(argument_parser(about).parse_args([])) == {}
    optional = argument_parser(about, "JSON file", Path("x.json"))
    assert optional.parse_args([]).output == Path("x.json")
    assert "JSON file (default: x.json)" in optional.format_help()
    required = argument_parser(about, "JSON file")
    assert required.parse_args(["-o", "y.json"]).output == Path("y.json")
    with pytest.raises(SystemExit):
        required.parse_args([])
    assert "-o/--output" in capsys.readouterr().err


def test_a_picture_is_written_at_its_size_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with pytest.raises(KeyError), picture(path, 2.0, 1.0) as figure:
        raise KeyError("data")
    assert list(tmp_path.iterdir()) == []
    with picture(path, 2.0, 1.0) as figure:
        axes = figure.subplots()
        axes.plot([0.0, 1.0], [0.0, 1.0])
    assert not axes.spines["top"].get_visible()
    assert axes.spines["left"].get_visible()
    assert imread(path).shape[:2] == (150, 300)


def test_minor_ticks_have_labels_at_some_multiples_only() -> None:
    assert [few(value, 0) for value in (0.02, 0.06, 50.0, 800.0)] == ["0.02", "", "50", ""]
    assert few(30.0, 0, leading="25") == ""


def test_the_reaction_coordinate_is_the_same_everywhere() -> None:
    assert SETTINGS.exploration.coordinate == COORDINATE.text == "d(0,1)-d(0,2)"
    frame = read_frames(TEST_DATA / "flagship.h5", [0])[0]
    along = mechanical_embedding.zeta(torch.tensor(frame.qm_positions)[None])
    assert float(along[0]) == pytest.approx(zeta(frame), abs=1e-12)  # two orders of summing
