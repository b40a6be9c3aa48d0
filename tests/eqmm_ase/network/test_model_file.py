"""The model file: what goes in comes out, old files stay readable, broken ones get a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from calculator_kit import SMALL, methanol, random_model, some_charges
from places import DATA
from safetensors import safe_open
from safetensors.torch import save_file

from eqmm_ase import EqMM
from eqmm_ase.network import model_file
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import ModelConfig
from eqmm_ase.network.model_file import ModelFileError, load_model, save_model

MODELS = DATA / "models"
TINY = ModelConfig(
    elements=(1, 6, 8), channels=2, n_layers=1, n_radial=2, n_near=1, hidden=4, l_expansion=1
)
CARD = {"method": {"functional": "b3lyp"}, "charge_scheme": "mulliken", "metrics": {"energy": 0.1}}


def energy_of(model) -> float:
    """Energy of methanol in twelve charges, which every file in the tests' data was made with."""
    atoms = methanol()
    atoms.calc = EqMM(model, dtype="float64")
    atoms.calc.embed(*some_charges())
    return atoms.get_potential_energy()


def make_reference(folder: Path = MODELS) -> None:
    """Make the files that this format version is remembered by.

    Run once per version:  PYTHONPATH=tests python -c "import test_model_file as t;
    t.make_reference()"
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = random_model(7, TINY)
    save_model(folder / f"version{model_file.VERSION}.eqmm", model, {"energy": energy_of(model)})
    committee = Committee([random_model(7, TINY), random_model(8, TINY)])
    card = {"energy": energy_of(committee)}
    save_model(folder / f"version{model_file.VERSION}_committee.eqmm", committee, card)


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "model.eqmm"
    save_model(path, random_model(), CARD)
    return path


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def rewritten(path: Path, header: dict[str, str] | None = None, **tensors: torch.Tensor) -> Path:
    """The same file with other header entries or tensors (None: taken out) and its checksum."""
    metadata, weights = header_of(path), {}
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    weights |= tensors
    weights = {name: t for name, t in weights.items() if t is not None}
    metadata |= header or {}
    metadata["sha256"] = model_file._digest(metadata, weights)
    save_file(weights, path, metadata)
    return path


# --- there and back ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_bit_by_bit(tmp_path, dtype):
    model = random_model().to(dtype)
    model.atomic_energies = model.atomic_energies.double() + 1e-12
    save_model(tmp_path / "model.eqmm", model, CARD)
    loaded, card = load_model(tmp_path / "model.eqmm")
    assert loaded.config == SMALL
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
        assert tensor.dtype == loaded.state_dict()[name].dtype, name
    assert energy_of(loaded) == energy_of(model)
    assert card.items() >= CARD.items()


def test_casting_to_float32_leaves_the_atomic_energies_wide():
    model = random_model().double()
    energies = model.atomic_energies + 1e-9
    model.atomic_energies.copy_(energies)
    assert model_file.cast(model, torch.float32) is model
    assert next(model.parameters()).dtype == torch.float32
    assert torch.equal(model.atomic_energies, energies)


def test_the_card_states_the_facts(path):
    _, card = load_model(path)
    assert card["units"]["energy"] == "eV"
    assert card["cutoff"] == SMALL.cutoff
    assert card["elements"] == [1, 6, 8]
    assert card["l_expansion"] == 2
    assert card["n_parameters"] == sum(p.numel() for p in random_model().parameters())
    assert {"eqmm_version", "created"} <= card.keys()
    header = header_of(path)
    assert header["format"] == "eqmm-model"
    assert header["format_version"] == "1"
    assert ModelConfig.from_dict(json.loads(header["config"])) == SMALL


def test_saving_replaces_and_leaves_nothing_behind(path):
    save_model(path, random_model(3), {"second": True})
    assert load_model(path)[1]["second"]
    assert [p.name for p in path.parent.iterdir()] == ["model.eqmm"]


def test_a_full_disk_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(path, random_model(3), CARD)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["model.eqmm"]


@pytest.mark.parametrize("card", [{"array": np.zeros(3)}, {"model": object()}])
def test_a_card_that_is_not_json_is_refused(tmp_path, card):
    with pytest.raises(ModelFileError, match="plain JSON values"):
        save_model(tmp_path / "model.eqmm", random_model(), card)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = random_model()
    with torch.no_grad():
        model.embedding.weight[0, 0] = torch.nan
    with pytest.raises(ModelFileError, match=r"'embedding\.weight' holds NaN"):
        save_model(tmp_path / "model.eqmm", model, CARD)


# --- old versions ---


@pytest.mark.parametrize("old", sorted(MODELS.glob("version*.eqmm")), ids=lambda p: p.stem)
def test_every_old_version_gives_the_energy_it_was_saved_with(old):
    model, card = load_model(old)
    # 1e-6 eV: float32 weights summed in another order; the energy itself is −2·10³ eV.
    assert energy_of(model) == pytest.approx(card["energy"], abs=1e-6)


def test_there_are_files_of_this_version():
    assert (MODELS / f"version{model_file.VERSION}.eqmm").is_file()
    assert (MODELS / f"version{model_file.VERSION}_committee.eqmm").is_file()


def test_the_ladder_is_climbed_step_by_step(path, monkeypatch):
    expected = energy_of(load_model(path)[0])
    weight = load_model(path)[0].embedding.weight.detach()
    rewritten(path, **{"embedding.weight": None, "species.weight": weight})

    def first(header, tensors):
        tensors["elements.weight"] = tensors.pop("species.weight")
        return header, tensors

    def second(header, tensors):
        tensors["embedding.weight"] = tensors.pop("elements.weight")
        card = json.loads(header["card"]) | {"upgraded": True}
        return header | {"card": json.dumps(card)}, tensors

    monkeypatch.setattr(model_file, "VERSION", 3)
    monkeypatch.setattr(model_file, "UPGRADES", {1: first, 2: second})
    model, card = load_model(path)
    assert card["upgraded"]
    assert energy_of(model) == expected


# --- files that are wrong ---


def test_missing_and_foreign_files(tmp_path, methanol_file):
    with pytest.raises(FileNotFoundError, match=r"no model file .*missing\.eqmm"):
        load_model(tmp_path / "missing.eqmm")
    with pytest.raises(ModelFileError, match="is not a file"):
        load_model(tmp_path)
    with pytest.raises(ModelFileError, match="is not an eqmm-model file"):
        load_model(methanol_file)
    for name, content in (("empty", b""), ("text", b"hello world " * 9), ("zeros", bytes(4096))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match="is not an eqmm-model file, or is truncated"):
            load_model(tmp_path / name)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "torch.pt")
    with pytest.raises(ModelFileError, match="is not an eqmm-model file"):
        load_model(tmp_path / "torch.pt")
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors", metadata)
        with pytest.raises(ModelFileError, match="not made by EqMM"):
            load_model(tmp_path / "other.safetensors")


def test_any_damage_gets_a_sentence(path):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    header = int.from_bytes(content[:8], "little") + 8
    places = [*range(8), *rng.integers(8, header, 60), *rng.integers(header, len(content), 20)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError) as caught:
            load_model(path)
        assert str(path) in str(caught.value)
    for length in (*rng.integers(0, len(content), 20), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="truncated"):
            load_model(path)


def test_files_that_do_not_fit(path):
    original = path.read_bytes()
    config = json.loads(header_of(path)["config"])
    nan = torch.full_like(load_model(path)[0].embedding.weight.detach(), torch.nan)
    for change, sentence in (
        ({"header": {"format_version": "2"}}, "format version 2, newer than the 1 .* update EqMM"),
        ({"header": {"format_version": "0"}}, "unknown format version '0'"),
        ({"header": {"format_version": "one"}}, "unknown format version 'one'"),
        ({"header": {"config": "{}"}}, "header .* cannot be understood"),
        ({"header": {"config": "{"}}, "header .* cannot be understood"),
        ({"header": {"config": json.dumps(config | {"colour": 1})}}, "cannot be understood"),
        ({"header": {"config": json.dumps(config | {"channels": 5})}}, r"has shape \(.*asks for"),
        ({"header": {"config": json.dumps(config | {"n_layers": 1})}}, "has the unknown tensors"),
        ({"header": {"config": json.dumps(config | {"n_layers": 3})}}, "lacks tensors layers.2"),
        ({"header": {"config": json.dumps(config | {"channels": "x"})}}, "cannot be understood"),
        ({"header": {"config": json.dumps(config | {"elements": []})}}, "has shape"),
        ({"header": {"config": json.dumps(config | {"elements": [400]})}}, "cannot be understood"),
        ({"header": {"card": "[1"}}, "header .* cannot be understood"),
        ({"header": {"card": "[1]"}}, "header .* cannot be understood"),
        ({"embedding.weight": None}, "lacks tensors embedding.weight"),
        ({"surplus": torch.zeros(2)}, "has the unknown tensors surplus"),
        ({"embedding.weight": nan}, "'embedding.weight' holds NaN"),
    ):
        path.write_bytes(original)
        rewritten(path, **change)
        with pytest.raises(ModelFileError, match=sentence) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)


def test_an_older_config_without_new_fields_takes_their_defaults(path):
    config = json.loads(header_of(path)["config"])
    config.pop("near_cutoff")
    rewritten(path, {"config": json.dumps(config)})
    assert load_model(path)[0].config == replace(SMALL)
