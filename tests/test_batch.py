"""What a batch says of its documents' metadata."""

from __future__ import annotations

from dolma_pipe.batch import make_batch


def metadata(field: str, *stored: str | None) -> list[str | None]:
    return make_batch([""] * len(stored), metadata=list(stored)).metadata(field).to_pylist()


def test_a_field_of_metadata_is_a_string_and_null_where_a_document_has_none() -> None:
    stored = ['{"url": "http://a.b/ü", "n": 1}', None, '{"n": {"m": [1.50]}}', '{"url": null}', "{}"]
    assert metadata("url", *stored) == ["http://a.b/ü", None, None, None, None]
    assert metadata("n", *stored) == ["1", None, '{"m":[1.5]}', None, None]
    assert metadata("n.m", '{"n": {"m": "deep"}}', '{"n": null}', None) == ["deep", None, None]


def test_metadata_that_is_empty_or_no_object_has_no_fields() -> None:
    assert metadata("url", "", '{"url": "x"}') == [None, "x"]
    assert metadata("url", "", '"url"', "[1]", '{"url": "x"}', None) == [None, None, None, "x", None]
