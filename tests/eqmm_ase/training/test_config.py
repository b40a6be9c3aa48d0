"""Settings: defaults, files, overrides, and sentences for what is wrong."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from eqmm_ase.network.model import ModelConfig
from eqmm_ase.settings_help import field_help
from eqmm_ase.simulation.ensembles import MDSettings
from eqmm_ase.simulation.exploration_settings import ExplorationSettings
from eqmm_ase.training.config import ConfigError, TrainConfig, config_from_dict, load_config
from eqmm_ase.training.idle_settings import notes, unlabelled
from eqmm_ase.training.loss import LossWeights


def test_defaults_need_nothing():
    assert load_config() == TrainConfig()


def test_a_file_overlays_defaults_and_overrides_overlay_the_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("model: {channels: 8, cutoff: 4}\ntraining: {max_steps: 10}\n")
    config = load_config(path, ["training.max_steps=20", "loss.energy=1e-3"])
    assert config.model.channels == 8
    assert config.model.cutoff == 4.0
    assert isinstance(config.model.cutoff, float)
    assert config.training.max_steps == 20
    assert config.loss.energy == 1e-3
    assert config.optimizer == TrainConfig().optimizer


def test_settings_survive_yaml(tmp_path):
    config = load_config(None, ["model.channels=5", "training.max_minutes=2.5", "data.charges=a"])
    path = tmp_path / "settings.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config
    assert config_from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("override", "attribute", "value"),
    [
        ("data.validation=a.h5", "validation", ("a.h5",)),
        ("data.validation=[a.h5, b.h5]", "validation", ("a.h5", "b.h5")),
        ("data.charges=null", "charges", None),
    ],
)
def test_lists_and_nothing_can_be_given(override, attribute, value):
    assert getattr(load_config(None, [override]).data, attribute) == value


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "optimizer.learning_rat=1",
            "optimizer.learning_rat; did you mean optimizer.learning_rate?",
        ),
        ("learning_rate=1", "learning_rate; did you mean optimizer.learning_rate?"),
        ("modell.cutoff=3", "modell.cutoff; did you mean model.cutoff?"),
        ("model.n_layer=3", "model.n_layer; did you mean model.n_layers?"),
        ("data.max_steps=3", "data.max_steps; did you mean training.max_steps?"),
        ("optimizer.energy=3", "optimizer.energy; did you mean loss.energy?"),
        ("zzz=1", "zzz; the sections are data, hardware, loss, model, optimizer, training"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(override, sentence):
    with pytest.raises(ConfigError, match=re.escape(f"unknown setting {sentence}")):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.max_steps=many", "training.max_steps is 'many'; expected a whole number"),
        ("training.max_steps=1.5", "training.max_steps is 1.5; expected a whole number"),
        ("training.max_steps=true", "training.max_steps is True; expected a whole number"),
        ("training.max_steps=0", "training.max_steps is 0; expected at least 1"),
        ("training.dtype=half", "training.dtype is 'half'; expected float32 or float64"),
        ("optimizer.ema_decay=2", "optimizer.ema_decay is 2.0; expected 0 to 0.999999"),
        ("optimizer.learning_rate=.nan", "learning_rate is nan; expected 1e-12 to 10"),
        ("hardware.tensorboard=1", "hardware.tensorboard is 1; expected true or false"),
        ("model=3", "section model is 3; expected keys with values"),
        ("training.seed.x=1", "training.seed is {'x': 1}; expected a whole number"),
        ("training.seed", "override 'training.seed' is not of the form section.key=value"),
        ("training.seed=[1", "override 'training.seed=[1' is not YAML"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(override, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)) as refusal:
        load_config(None, [override])
    assert "\n" not in str(refusal.value)


def test_a_loss_without_any_weight_is_refused():
    names = ("energy", "qm_forces", "mm_forces", "mm_potential", "charges", "dipole")
    with pytest.raises(ConfigError, match="all weights in section loss are 0"):
        load_config(None, [f"loss.{name}=0" for name in names])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"- 1\n- 2\n", "holds [1, 2]; expected sections"),
        (b"model: {", "is not YAML"),
        (b"\xff\xfe\x00", "is not a text file"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, sentence):
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load_config(tmp_path / "bad.yaml")


def test_an_empty_file_means_defaults_and_a_missing_one_is_refused(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert load_config(tmp_path / "empty.yaml") == TrainConfig()
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["data.validation=a.h5", "data.validation_fraction=0.2"],
            "setting data.validation_fraction is 0.2, but it has no effect beside data.validation",
        ),
        (["model.n_near=0", "model.near_cutoff=4"], "model.near_cutoff is 4.0, but it has no"),
        (["model.polarisable=false", "model.near_cutoff=4"], "beside model.polarisable=false"),
        (["model.polarisable=false", "model.n_near=4"], "setting model.n_near is 4, but it has no"),
        (
            ["model.polarisable=false", "model.multipoles=false", "model.l_expansion=2"],
            "setting model.l_expansion is 2, but it has no effect",
        ),
        (["data.validation_fraction=0", "training.patience=3"], "training.patience is 3, but it"),
        (["data.baseline=true", "loss.dipole=1"], "setting loss.dipole is 1.0, but it has no"),
        (["data.baseline=true", "data.charges=mbis"], "setting data.charges is mbis, but it has"),
        (
            ["training.max_steps=1000", "optimizer.warmup_steps=200"],
            "setting optimizer.warmup_steps is 200; expected at most 100, a tenth of",
        ),
        (["model.neutral=true"], "setting model.neutral is True and data.baseline is False"),
        (["data.baseline=true", "model.neutral=false"], "setting model.neutral is False and data."),
    ],
)
def test_a_setting_that_cannot_have_an_effect_is_refused(overrides, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)) as refusal:
        load_config(None, overrides)
    assert "\n" not in str(refusal.value)


def test_what_decides_nothing_may_stay_at_its_default():
    for overrides in (
        ["data.validation=a.h5"],
        ["model.n_near=0", "model.near_cutoff=5"],
        ["model.polarisable=false", "model.l_expansion=2"],
        ["data.validation_fraction=0"],
        ["training.max_steps=10"],
        ["training.max_minutes=1", "training.max_steps=1000"],
    ):
        load_config(None, overrides)


def test_neutral_charges_follow_from_the_baseline():
    assert load_config(None, ["data.baseline=true"]).model.neutral
    assert load_config(None, ["data.baseline=true", "model.neutral=true"]).model.neutral
    differences = load_config(None, ["data.baseline=true"])
    assert not load_config(None, ["data.baseline=false"], differences).model.neutral
    wrong = replace(TrainConfig(), model=ModelConfig(elements=(), neutral=True))
    with pytest.raises(ConfigError, match="follows from the latter"):
        wrong.with_derived()


def test_what_the_data_do_not_allow_is_noted():
    config = load_config(
        None, ["training.max_steps=10", "training.validate_every=4", "training.batch_size=8"]
    )
    rounds, batches = notes(config, 5, 3, 3)
    assert rounds == "3 rounds of 3 steps, since rounds are equally long"
    assert "batch_size is 8, but there are only 5 training frames" in batches
    assert notes(config, 8, 1, 10) == []
    found = LossWeights(mm_potential=0.0, charges=0.0)
    assert unlabelled(LossWeights(charges=0.0), found) == ["mm_potential"]


@pytest.mark.slow
def test_every_setting_says_what_it_means():
    sections = {item.name: item.default_factory() for item in fields(TrainConfig)}
    for section in sections.values():
        texts = field_help(type(section))
        for item in fields(section):
            assert len(texts[item.name]) > 10, f"{type(section).__name__}.{item.name}"
            assert f"{item.name} : " in type(section).__doc__
    assert field_help(ModelConfig)["cutoff"] == "QM–QM cutoff, Å."
    assert "model.cutoff : float = 5.0\n    QM–QM cutoff, Å.\n" in TrainConfig.__doc__
    assert "training.max_minutes : float | None = None\n    Minutes after" in TrainConfig.__doc__


@pytest.mark.parametrize("settings", [ExplorationSettings, MDSettings])
def test_settings_of_runs_say_what_they_mean(settings):
    texts = field_help(settings)
    for item in fields(settings):
        assert texts[item.name], item.name
        assert f"\n{item.name} : " in settings.__doc__


def test_settings_are_shown_with_meaning_unit_and_default(tmp_path):
    text = load_config(None, ["model.channels=7"]).to_yaml()
    lines = [line.strip() for line in text.splitlines()]
    at = lines.index("channels: 7")
    assert lines[at - 1] == "# Number of channels of every order l.  [default: 24]"
    assert "# QM–QM cutoff, Å.  [default: 5.0]" in lines
    assert "elements" not in text  # those of the data, whatever is asked for
    assert max(map(len, text.splitlines())) <= 100
    own = load_config(None, ["model.channels=9"])
    assert "[default: 9]" in load_config(None, ["model.channels=7"], own).to_yaml(own)
