"""Settings: defaults, files, overrides, and sentences for what is wrong."""

from __future__ import annotations

import re

import pytest

from eqmm_ase.config import ConfigError, TrainConfig, config_from_dict, load_config


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
