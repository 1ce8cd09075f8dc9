"""Spellings that lead to one page have one form; others keep theirs."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_pipe.url import UrlRules, normalize_url, normalize_urls

STRICT = UrlRules(ignore_scheme=False, ignore_fragment=False, ignore_trailing_slash=False, tracking=())


@pytest.mark.parametrize(
    "spelling",
    [
        "https://example.com/a/b",
        "http://example.com/a/b",
        "HTTPS://EXAMPLE.com/a/b",
        "https://example.com:443/a/b",
        "http://example.com:80/a/b",
        "https://example.com./a/b",
        "https://example.com:/a/b",
        "https://example.com/a/b/",
        "https://example.com/a/./c/../b",
        "https://example.com/%61/b",
        "https://example.com/a/b#section-2",
        "https://example.com/a/b?",
        "https://example.com/a/b?utm_source=feed&UTM_Medium=rss",
        "https://example.com/a/b?utm%5Fsource=feed&fbclid=1#top",
        "  https://example.com/a/b\n",
    ],
)
def test_spellings_of_one_page_have_one_form(spelling: str) -> None:
    assert normalize_url(spelling) == "https://example.com/a/b"


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com/?b=2&utm_id=3&a=1", "https://example.com?b=2&a=1"),
        ("https://example.com/A", "https://example.com/A"),
        ("https://example.com:8080/a", "https://example.com:8080/a"),
        ("http://example.com:443/a", "https://example.com/a"),
        ("https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"),
        ("ftp://User:Pass@Example.com:21/a", "ftp://User:Pass@example.com/a"),
        ("https://example.com/#!/route", "https://example.com#!/route"),
        ("https://example.com/app#/inbox", "https://example.com/app#/inbox"),
        ("https://example.com/%e4%bd%a0", "https://example.com/%E4%BD%A0"),
        ("https://example.com/你 好", "https://example.com/%E4%BD%A0%20%E5%A5%BD"),
        ("https://example.com/../../a", "https://example.com/a"),
        ("https://example.com/a/..", "https://example.com"),
        ("https://bücher.example/a", "https://xn--bcher-kva.example/a"),
        ("https://BÜCHER.Example:8443/a", "https://xn--bcher-kva.example:8443/a"),
        ("https://b%C3%BCcher。example/a", "https://xn--bcher-kva.example/a"),
        ("https://bu\u0308cher.example", "https://xn--bcher-kva.example"),
        ("https://faß.example", "https://xn--fa-hia.example"),
        ("https://ｅｘａｍｐｌｅ．com/a", "https://example.com/a"),
        ("https://%65xample.com/a", "https://example.com/a"),
        ("https://a%2Fb.com/a", "https://a%2fb.com/a"),  # a name that cannot be stays as it is
        ("https://℀.com/a", "https://℀.com/a"),
        ("https://[fe80::1%25eth0]:443/a", "https://[fe80::1%25eth0]/a"),
        ("http:///a", "https:///a"),
        ("data:text/plain,a#b", "data:text/plain,a#b"),
        ("//example.com/a", "//example.com/a"),
        ("https://example.com/a?next=http://x.org/&ref=1", "https://example.com/a?next=http://x.org/&ref=1"),
        ("doi:10.1000/182", "doi:10.1000/182"),
        ("", ""),
    ],
)
def test_the_form_of_a_url(url: str, form: str) -> None:
    assert normalize_url(url) == form


def test_every_rule_can_be_switched_off() -> None:
    url = "HTTP://Example.com:80/a/?utm_source=x#part"
    assert normalize_url(url, STRICT) == "http://example.com/a/?utm_source=x#part"
    assert normalize_url("http://example.com", STRICT) == "http://example.com/"
    assert normalize_url(url, UrlRules(tracking=("ref",))) == "https://example.com/a?utm_source=x"


def test_long_urls_take_no_longer_than_they_must() -> None:
    for name in ("a" * 10**6, "ü" * 10**6, "%41" * 10**6):
        assert normalize_url(f"https://{name}/").startswith("https://")
        assert normalize_url(f"https://a.org/{name}").startswith("https://a.org/")


def test_an_array_keeps_its_nulls_and_its_order() -> None:
    urls = ["http://a.org/x/", None, "https://a.org/x?utm_id=1", "not a url", "https://a.org/%7Ex"]
    assert normalize_urls(pa.array(urls)).to_pylist() == [
        "https://a.org/x", None, "https://a.org/x", "not a url", "https://a.org/~x",
    ]  # fmt: skip


pieces = st.sampled_from(
    ["http://", "https://", "HTTPS://", "a.org", "A.org:80", ":443", "/", "//", "/.", "/..", "/b", "/é", "%41", "%2f",
     "%zz", "ü", "%C3%BC", "\u3002", "℀", "[::1]", "?", "&", "utm_id=1", "x=1", "#", "#!", "#/", " ", "@", "\n", "ftp://"]
)  # fmt: skip
urls_of_pieces = st.lists(pieces, max_size=9).map("".join)


@given(urls_of_pieces, st.sampled_from([UrlRules(), STRICT]))
def test_the_form_of_a_form_is_itself(url: str, rules: UrlRules) -> None:
    form = normalize_url(url, rules)
    assert normalize_url(form, rules) == form


@given(st.lists(urls_of_pieces, min_size=1, max_size=5), st.sampled_from([UrlRules(), STRICT]))
def test_an_array_of_urls_has_the_forms_of_its_urls(urls: list[str], rules: UrlRules) -> None:
    assert normalize_urls(pa.array(urls), rules).to_pylist() == [normalize_url(url, rules) for url in urls]
