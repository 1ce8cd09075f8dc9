"""A tagger is found by name, made with its options, and refused with a guess."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import Tagger, available, count, load, per_document, real, spec


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package outside the house with one tagger in it."""
    (tmp_path / "acme_taggers.py").write_text(
        "from dolma_pipe.tagger import Tagger, count\n"
        "class Vowels(Tagger):\n"
        "    version = 3\n"
        "    fields = {'vowel_count': count('vowels')}\n"
        "    def __init__(self, letters: str = 'aeiou') -> None:\n"
        "        self.letters = letters\n"
        "    def tag(self, batch):\n"
        "        return {'vowel_count': [sum(c in self.letters for c in text) for text in batch.texts()]}\n"
        "class NoTagger:\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "acme_taggers"
    sys.modules.pop("acme_taggers", None)


def test_every_bundled_tagger_loads_by_its_name_and_documents_its_fields() -> None:
    assert {"gopher", "gopher_repetition", "c4", "pii", "length", "langid"} <= set(available())
    for name in available():
        tagger = load(name)
        assert tagger.version >= 1
        assert tagger.fields
        assert all(field.doc.strip() for field in tagger.fields.values()), name


def test_a_strangers_tagger_is_named_by_module_and_class(stranger: str) -> None:
    tagger = load({"name": "vowels", "use": f"{stranger}:Vowels", "letters": "xyz"})
    assert tagger.tag(make_batch(["xylophone", "a"]))["vowel_count"] == [2, 0]
    assert spec(f"{stranger}:Vowels").name == "vowels"


def test_unknown_names_options_and_classes_are_refused_with_a_guess(stranger: str) -> None:
    for value, message in [
        ("gophr", "no tagger 'gophr'; did you mean 'gopher'?"),
        ({"name": "v", "use": f"{stranger}:Vowels", "leters": "x"}, "has no option 'leters' (did you mean 'letters'?)"),
        (f"{stranger}:Missing", "has no 'Missing'"),
        (f"{stranger}:NoTagger", "not a Tagger"),
        ("nowhere.at.all:Tox", "no module 'nowhere.at.all'"),
        ({"use": "gopher"}, "has no name"),
        ({"name": "a b", "use": "gopher"}, "cannot name an attribute set"),
    ]:
        with pytest.raises(ConfigError) as error:
            load(value)  # type: ignore[arg-type]
        assert message in str(error.value)


def test_a_module_that_lacks_a_dependency_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_tagger.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="needs the module 'surely_not_installed', which is not installed"):
        load("needy_tagger:Any")


def test_a_folder_called_taggers_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taggers").mkdir()
    (tmp_path / "taggers" / "__init__.py").write_text("")
    (tmp_path / "taggers" / "length.py").write_text(
        "from dolma_pipe.tagger import Tagger\nclass Length(Tagger):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("taggers", "taggers.length"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that what is imported now is forgotten afterwards
        del sys.modules[name]
    with pytest.raises(ConfigError, match="not the one installed with dolma_pipe"):
        load("length")


def test_a_function_of_one_document_becomes_a_tagger() -> None:
    def shout(document: dict[str, object]) -> dict[str, object]:
        text = str(document["text"])
        return {"upper_count": sum(map(str.isupper, text)), "share": 0.5}

    kind = per_document(shout, {"upper_count": count("upper-case characters"), "share": real("half")}, version=2)
    assert issubclass(kind, Tagger)
    found = kind().tag(make_batch(["AbC", ""], metadata=['{"url": "x"}', None]))
    assert found["upper_count"].to_pylist() == [2, 0]
    assert found["share"].type == pa.float64()
    assert kind.version == 2
