"""A configuration is refused at the door, with the place and a guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_pipe.config import Config, apply_overrides, fingerprint, load, parse_yaml
from dolma_pipe.errors import ConfigError


class Source(Config):
    name: str
    weight: float = 1.0
    keep: Literal["first", "last"] | dict[str, list[Literal["none"]]] = "first"


class Mix(Config):
    sources: list[Source] = []
    seed: int = 0
    rate: float = 0.0
    label: str = ""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mix.yaml"
    path.write_text(text)
    return path


def test_scalars_follow_yaml_1_2() -> None:
    found = parse_yaml(
        "{a: 4e-4, b: no, c: 1_000_000, d: on, e: 0x1F, f: null, g: '3', h: true, i: 1.5, j: 12:30}", "x"
    )
    assert found == {
        "a": 4e-4,
        "b": "no",
        "c": 1000000,
        "d": "on",
        "e": 31,
        "f": None,
        "g": "3",
        "h": True,
        "i": 1.5,
        "j": "12:30",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead: 1", "unknown key 'sead' at the top level (did you mean 'seed'?)"),
        ("sources: [{name: a, wieght: 2}]", "unknown key 'wieght' at sources[0] (did you mean 'weight'?)"),
        ("sources: [{weight: 2}]", "the key 'name' is missing at sources[0]"),
        ("sources: [{name: a, keep: lst}]", "'lst' at sources[0].keep is not one of first, last"),
        ("seed: fast", "expected int, got str at seed"),
        ("seed: 1\nseed: 2", "mix.yaml:2: the key 'seed' is repeated"),
        ("sources: [{name: a, name: b}]", "the key 'name' is repeated"),
        ("sources: &all []", "aliases and anchors"),
        ("label: !!python/object:os.system x", "the tag"),
        ("sources: [", "not valid YAML"),
        ("- 1", "expected keys and values, found list"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text), Mix)
    assert message in str(error.value)
    assert "mix.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such configuration file"):
        load("nowhere.yaml", Mix)


def test_a_flag_beats_set_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nrate: 0.5\nlabel: file\n")
    found = load(path, Mix, ["seed=2", "label=set"], label="flag")
    assert (found.seed, found.rate, found.label, found.sources) == (2, 0.5, "flag", [])
    assert load(path, Mix, label=None).label == "file"


def test_set_reaches_into_lists_and_makes_missing_mappings() -> None:
    data = {"sources": [{"name": "a"}]}
    assert apply_overrides(data, ["sources.0.weight=2.5", "budget.tokens=10"]) == {
        "sources": [{"name": "a", "weight": 2.5}],
        "budget": {"tokens": 10},
    }
    assert data == {"sources": [{"name": "a"}]}


@pytest.mark.parametrize("override", ["seed", "=3", "sources.7.name=x", "seed.a=1"])
def test_a_malformed_set_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"seed": 1, "sources": []}, [override])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values, json_values)
def test_fingerprints_are_equal_only_for_equal_values(a: object, b: object) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (fingerprint(a) == fingerprint(b)) == same
    assert fingerprint({"x": a, "y": b}) == fingerprint({"y": b, "x": a})
    assert len(fingerprint(a)) == 32
