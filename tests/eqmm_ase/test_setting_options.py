"""Options made from a dataclass have its names, types, defaults and meanings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner

from eqmm_ase.setting_options import setting_options, settings_from


@dataclass(frozen=True)
class Cooking:
    """How a soup is made."""

    dish: str
    """What is cooked."""

    minutes: float = 20.0
    """Time on the fire, min."""

    spices: tuple[str, ...] = ("salt", "pepper")
    """What goes in."""

    temperatures: tuple[float, ...] = (90.0,)
    """K; given several times, one after the other."""

    between: tuple[float, float] | None = None
    """Range of something."""

    heat: Literal["low", "high"] = "low"
    """How it is heated."""

    portions: int | None = None
    """How many are fed; None: twice as many as there are."""

    lid: bool = True
    """Cover the pot."""

    stir: bool = False
    """Turn the ``spoon``."""

    cook: str = "me"
    """No option."""


@pytest.fixture
def cooked():
    made = []

    @click.command(context_settings={"show_default": True})
    @setting_options(
        Cooking,
        names={"minutes": "--time"},
        defaults={"portions": None, "heat": "high"},
        texts={"dish": "Soup or stew."},
        without=("cook",),
    )
    @click.option("--loud", is_flag=True)
    def command(**options: Any) -> None:
        made.append((settings_from(Cooking, options, cook="you"), options))

    def run(*arguments: str):
        result = CliRunner().invoke(command, arguments)
        return result, made[-1] if made else None

    return run


def test_options_left_out_are_the_defaults_of_the_dataclass(cooked):
    result, (settings, rest) = cooked("--dish", "soup")
    assert result.exit_code == 0
    assert settings == Cooking("soup", heat="high", cook="you")
    assert rest == {"loud": False}


def test_every_kind_of_field_is_read_from_its_option(cooked):
    words = "--dish stew --time 5 --spices thyme,sage --temperatures 300 --temperatures 400"
    words += " --between 1 2.5 --heat low --portions 3 --no-lid --stir --loud"
    _, (settings, rest) = cooked(*words.split())
    assert settings == Cooking(
        "stew", 5.0, ("thyme", "sage"), (300.0, 400.0), (1.0, 2.5), "low", 3, False, True, "you"
    )
    assert rest == {"loud": True}


def test_help_is_the_text_below_the_field(cooked):
    words = " ".join(cooked("--help")[0].output.split())
    assert "--dish TEXT Soup or stew. [required]" in words
    assert "--time FLOAT Time on the fire, min. [default: 20.0]" in words
    assert "How many are fed. [default: twice as many as there are]" in words
    assert "--lid / --no-lid Cover the pot. [default: lid]" in words
    assert "--heat [low|high] How it is heated. [default: high]" in words
    assert "[default: salt,pepper]" in words
    assert "Turn the `spoon`." in words
    assert "--cook" not in words


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--time 5", "Missing option '--dish'"),
        ("--dish soup --heat boiling", "'boiling' is not one of 'low', 'high'"),
        ("--dish soup --portions many", "'many' is not a valid integer"),
    ],
)
def test_value_of_another_type_is_refused_by_the_name_of_the_option(cooked, words, sentence):
    result, _ = cooked(*words.split())
    assert result.exit_code == 2
    assert sentence in result.output


def test_metadata_of_a_field_names_its_choices_and_what_stands_for_its_value():
    kinds = {"thin": 1, "thick": 2}

    @dataclass(frozen=True)
    class Serving:
        """How a soup is served."""

        kind: str = field(default="thin", metadata={"choices": kinds})
        """How thick it is."""
        table: str | None = field(default=None, metadata={"metavar": "ROW,SEAT"})
        """Where it goes."""

    @click.command()
    @setting_options(Serving)
    def command(**options: Any) -> None:
        assert settings_from(Serving, options) == Serving("thick", "3,1")

    def run(*arguments: str):
        return CliRunner().invoke(command, arguments, catch_exceptions=False)

    assert run("--kind", "thick", "--table", "3,1").exit_code == 0
    assert "'solid' is not one of 'thin', 'thick'" in run("--kind", "solid").output
    words = " ".join(run("--help").output.split())
    assert "--kind [thin|thick] How thick it is." in words
    assert "--table ROW,SEAT Where it goes." in words
