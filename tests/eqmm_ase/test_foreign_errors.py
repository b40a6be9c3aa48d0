"""Messages of other libraries behind sentences of ours: one clause, no links, no lists."""

from __future__ import annotations

import pytest

from eqmm_ase.files.structures import StructureError, read_structure
from eqmm_ase.foreign_errors import short_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            TypeError(
                "Cannot find an appropriate coordinate reader for file 'a.foo'.\n"
                "  Unknown coordinate trajectory format 'FOO'. The FORMATs\n"
                "  dict_keys(['CHAIN', 'DCD', 'GRO'])\n  are implemented in MDAnalysis.\n"
                "  See https://docs.mdanalysis.org/documentation_pages/coordinates/init.html"
            ),
            "Cannot find an appropriate coordinate reader for file 'a.foo'",
        ),
        (ValueError("Sizes differ!\nTopology 5\nTrajectory 30"), "Sizes differ"),
        (ValueError("\n\n  found   it  \n"), "found it"),
        (ValueError("Known are ['A', 'B', 'C', 'D', 'E', 'F', 'G'] only"), "Known are … only"),
        (ValueError("Bad value; see https://example.org/a.html for help"), "Bad value; for help"),
        (ValueError("version 1.2.3 of x.top is too old. Get another."), None),
        (ValueError(""), "ValueError"),
        (KeyError("MASS"), "KeyError: MASS"),
        (IndexError("list index out of range"), "IndexError: list index out of range"),
        (AssertionError(), "AssertionError"),
        (FileNotFoundError(2, "No such file or directory", "/a/b"), "No such file or directory"),
    ],
)
def test_a_reason_is_one_clause(error, reason):
    assert short_reason(error) == (reason or "version 1.2.3 of x.top is too old")


def test_a_reason_is_no_longer_than_two_lines_of_a_terminal():
    reason = short_reason(ValueError("many words and " * 100))
    assert len(reason) < 165
    assert reason.endswith("…")


@pytest.mark.parametrize("name", ["a.foo", "a.xyz", "a.pdb", "a.cif", "a.json", "POSCAR"])
def test_what_ase_cannot_read_is_one_sentence(name, tmp_path):
    path = tmp_path / name
    path.write_text("3\n\nC 0 0\n")
    with pytest.raises(StructureError) as caught:
        read_structure(path)
    message = str(caught.value)
    assert message.startswith(f"{path}")
    assert "\n" not in message
    assert "http" not in message
    assert len(message) < len(str(path)) + 220
