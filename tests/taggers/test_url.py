"""Hosts, registered domains and block lists."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tagger import Tagger, load


def rows(tagger: Tagger, urls: Sequence[str | None], field: str = "url") -> list[dict[str, Any]]:
    metadata = [None if url is None else json.dumps({field: url}) for url in urls]
    values = tagger.tag(make_batch(["text"] * len(urls), metadata=metadata))
    columns = [pa.array(values[name], kind.type).to_pylist() for name, kind in tagger.fields.items()]
    return [dict(zip(tagger.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def tag(urls: Sequence[str | None], /, **options: Any) -> list[dict[str, Any]]:
    return rows(load({"name": "url", **options}), urls)


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def blocked(path: Path, kind: str, entries: Sequence[str], urls: Sequence[str]) -> list[bool]:
    field = {"domains": "domain_blocked", "hosts": "host_blocked", "urls": "url_blocked", "subwords": "subword_blocked"}
    found = tag(urls, **{kind: write(path / "list.txt", *entries)})
    return [row[field[kind]] for row in found]


def test_documents_without_a_url_are_on_no_list(tmp_path: Path) -> None:
    nothing = {
        "has_url": False, "host": "", "registered_domain": "", "domain_blocked": False, "host_blocked": False,
        "url_blocked": False, "hard_word_count": 0, "soft_word_count": 0, "subword_blocked": False, "lists": [],
    }  # fmt: skip
    domains = write(tmp_path / "d.txt", "example.org")
    assert (
        tag([None, "", " ", "mailto:a@example.org", "urn:isbn:1", "javascript:alert(1)", "no url at all"])
        == [nothing] * 7
    )
    assert tag([None, "", "file:///etc/passwd"], domains=domains) == [nothing] * 3
    assert rows(load("url"), ["https://example.org"], field="other") == [nothing]


@pytest.mark.parametrize(
    ("url", "host", "domain"),
    [
        ("https://www.BBC.co.uk/news?x=1", "www.bbc.co.uk", "bbc.co.uk"),
        ("http://user:pass@Example.org:8080/a", "example.org", "example.org"),
        ("  https://example.org.  ", "example.org", "example.org"),
        ("https://example.org?q=a@b", "example.org", "example.org"),
        ("//cdn.example.org/x", "cdn.example.org", "example.org"),
        ("example.org:80/path", "example.org", "example.org"),
        ("http://1.2.3.4/x", "1.2.3.4", ""),
        ("http://[2001:db8::1]:80/", "2001:db8::1", ""),
        ("http://a.b.ck/", "a.b.ck", "a.b.ck"),
        ("http://x.www.ck/", "x.www.ck", "www.ck"),
        ("http://co.uk/", "co.uk", ""),
        ("http://localhost/", "localhost", ""),
        ("http://a.blogspot.com/", "a.blogspot.com", "blogspot.com"),
        ("http://www.bücher.example/", "www.bücher.example", "bücher.example"),
        ("http://bad host/", "", ""),
        ("http://host:port/", "", ""),
    ],
)
def test_host_and_registered_domain(url: str, host: str, domain: str) -> None:
    [row] = tag([url])
    assert (row["host"], row["registered_domain"], row["has_url"]) == (host, domain, host != "")


def test_names_under_which_anybody_may_have_one_count_as_suffixes_on_request() -> None:
    assert tag(["http://x.a.blogspot.com/"], private_suffixes=True)[0]["registered_domain"] == "a.blogspot.com"


LIBRARY = PublicSuffixList(only_icann=True)
LABELS = st.sampled_from(
    ["a", "b", "www", "com", "co", "uk", "jp", "kobe", "city", "ck", "xn--p1ai", "рф", "no", "example"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=5).map(".".join))
def test_registered_domains_are_those_of_the_library(host: str) -> None:
    # a rule that is written in letters holds for the xn-- form too, which the library needs to be told
    expected = LIBRARY.privatesuffix(host) or ""
    assert tag([f"http://{host}/"])[0]["registered_domain"] == expected


def test_a_domain_covers_its_subdomains_and_nothing_that_merely_ends_alike(tmp_path: Path) -> None:
    entries = [
        "# comment",
        "! comment",
        "[Adblock Plus 2.0]",
        "",
        "wired.com",
        "||ads.example^",
        "0.0.0.0 tracker.example",
        "*.top",
    ]
    urls = {
        "http://wired.com/": True, "http://www.wired.com/": True, "http://a.b.WIRED.com/x": True,
        "http://ired.com/": False,
        "http://hotwired.com/": False, "http://wired.com.example/": False, "http://x.ads.example/": True,
        "http://tracker.example/": True, "http://0.0.0.0/": False, "http://any.thing.top/": True, "http://stop/": False,
    }  # fmt: skip
    assert dict(zip(urls, blocked(tmp_path, "domains", entries, list(urls)), strict=True)) == urls


def test_a_listed_address_is_only_itself(tmp_path: Path) -> None:
    urls = {"http://1.2.3.4/": True, "http://9.1.2.3.4/": False, "http://1.2.3.5/": False, "http://[::1]/": True}
    assert blocked(tmp_path, "domains", ["1.2.3.4", "3.4", "::1"], list(urls)) == list(urls.values())


def test_both_spellings_of_an_international_name_match(tmp_path: Path) -> None:
    urls = ["http://bücher.example/", "http://xn--bcher-kva.example/"]
    assert blocked(tmp_path, "domains", ["bücher.example"], urls) == [True, True]
    assert blocked(tmp_path, "domains", ["xn--bcher-kva.example"], urls) == [True, True]


def test_a_host_stands_for_itself_with_or_without_www(tmp_path: Path) -> None:
    urls = {"http://a.example/": True, "http://www.a.example/": True, "http://b.a.example/": False}
    assert blocked(tmp_path, "hosts", ["www.a.example"], list(urls)) == list(urls.values())


def test_a_url_matches_up_to_the_end_of_a_segment_or_parameter(tmp_path: Path) -> None:
    urls = {
        "https://www.a.example/x/y": True, "a.example/X": True, "http://a.example/x?q=1": True,
        "http://a.example/xy": False,
        "http://b.a.example/x": False, "http://c.example/?id=1&b=2": True, "http://c.example/?id=12": False,
        "http://d.example/anything": True,
    }  # fmt: skip
    entries = ["http://a.example/x/", "c.example/?id=1", "d.example"]
    assert dict(zip(urls, blocked(tmp_path, "urls", entries, list(urls)), strict=True)) == urls


def test_words_match_in_any_case_and_count_once(tmp_path: Path) -> None:
    options = {
        "words": write(tmp_path / "hard.txt", "Kinky"),
        "soft_words": write(tmp_path / "soft.txt", "ass", "bitch"),
    }
    found = tag(
        ["http://x.example/KINKY/Ass-ass_bitch", "http://grass.example/kinkyness", "http://ass.example/"], **options
    )
    assert [(row["hard_word_count"], row["soft_word_count"]) for row in found] == [(1, 2), (0, 0), (0, 1)]


def test_subwords_occur_across_what_is_no_letter(tmp_path: Path) -> None:
    urls = {
        "http://a.example/gol-den/shower": True,
        "http://golden.example/show": False,
        "http://x.example/XGoldenShowers": True,
    }
    assert blocked(tmp_path, "subwords", ["golden shower", "shower gel"], list(urls)) == list(urls.values())


def test_lists_are_told_by_name_and_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "gambling.domains.gz").write_bytes(gzip.compress(b"bet.example\nboth.example\n"))
    domains = [str(tmp_path / "gambling.domains.gz"), write(tmp_path / "ads.txt", "both.example")]
    words = write(tmp_path / "gambling.words", "casino")
    found = tag(["http://bet.example", "http://both.example/casino", "http://x.example/casino", "http://x.example"],
                domains=domains, words=words)  # fmt: skip
    assert [row["lists"] for row in found] == [["gambling"], ["gambling", "ads"], ["gambling"], []]


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("domains", "example.org/path", "is not a domain"),
        ("domains", "com", "is not a domain"),
        ("domains", "||a.example^$third-party", "is not a domain"),
        ("domains", "-ad-300x600-", "is not a domain"),
        ("hosts", "||a.example^", "one with its subdomains belongs into domains"),
        ("urls", "nothing", "is not a URL"),
        ("words", "größe", "is not a word"),
    ],
)
def test_a_line_that_cannot_be_an_entry_is_refused_with_its_place(
    tmp_path: Path, kind: str, line: str, message: str
) -> None:
    path = write(tmp_path / "list.txt", "# fine", "good.example" if kind != "words" else "good", line)
    with pytest.raises(ConfigError, match=message) as error:
        tag(["http://a.example"], **{kind: path})
    assert str(error.value).startswith(f"{path}:3: ")


def test_lists_that_could_not_block_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such list"):
        load({"name": "url", "domains": str(tmp_path / "absent.txt")})
    with pytest.raises(ConfigError, match="blocks nothing"):
        tag(["http://a.example"], domains=write(tmp_path / "empty.txt", "# nothing"))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a.example\n" * 1000)[:-9])
    with pytest.raises(DataError, match=r"cut\.gz"):
        tag(["http://a.example"], domains=str(tmp_path / "cut.gz"))


def test_the_definition_follows_the_content_of_the_lists(tmp_path: Path) -> None:
    first = load({"name": "url", "domains": write(tmp_path / "list.txt", "a.example")}).model_hash
    second = load({"name": "url", "domains": write(tmp_path / "list.txt", "b.example")}).model_hash
    assert len({first, second, load("url").model_hash}) == 3


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="abc.:/@?#[]%- wW1é\\", max_size=30) | st.text(max_size=20), max_size=5))
def test_no_url_breaks_anything_and_hosts_are_parts_of_theirs(urls: list[str]) -> None:
    for url, row in zip(urls, tag([u.encode(errors="replace").decode() for u in urls]), strict=True):
        assert row["host"] in url.encode(errors="replace").decode().translate({c: c + 32 for c in range(65, 91)})
        assert row["host"].endswith(row["registered_domain"])


@pytest.mark.corpus
def test_real_lists_of_a_hundred_thousand_entries_are_read(corpus: Path) -> None:
    lists = corpus / "blocklists"
    tagger = load(
        {
            "name": "url",
            "domains": sorted(map(str, [*lists.glob("ut1/*.domains.gz"), *lists.glob("blocklistproject/*.gz")])),
            "urls": [
                *sorted(map(str, lists.glob("ut1/*.urls.gz"))),
                str(lists / "datamap-rs/fineweb_url_filters/urls.txt.gz"),
            ],
            "words": str(lists / "datamap-rs/fineweb_url_filters/banned_words.txt.gz"),
            "soft_words": str(lists / "datamap-rs/fineweb_url_filters/soft_banned_words.txt.gz"),
            "subwords": str(lists / "datamap-rs/fineweb_url_filters/banned_subwords.txt.gz"),
        }
    )
    urls = ["https://old.reddit.com/r/x", "https://en.wikipedia.org/wiki/Essex", "http://www.askmen.com/dating/tips"]
    found = rows(tagger, urls)
    assert [row["lists"] for row in found] == [["social_networks"], [], ["dating"]]


@pytest.mark.corpus
def test_an_adblock_list_with_other_rules_says_where_it_cannot_be_read(corpus: Path) -> None:
    path = corpus / "blocklists" / "easylist.txt.gz"
    with pytest.raises(ConfigError, match=r"easylist.txt.gz:19: '-ad-300x600-' is not a domain"):
        tag(["http://a.example"], domains=str(path))
