"""Where a document comes from, and whether its URL is on a list that the user names.

Lists are files, one entry a line, plain, `.gz` or `.zst`. Without lists nothing is blocked, and host and registered
domain are still told. What RefinedWeb (Penedo et al. 2023, G.1) and FineWeb do is `domains`, `urls`, `words` (one is
too many), `soft_words` (two are) and `subwords` together: `hard_word_count = 0 and soft_word_count < 2 and not ...`.

Where we differ from the peers: a listed domain covers its subdomains; addresses and ports are told apart from names;
words match in any case (datatrove's only lower-cased URLs); a document without a URL is on no list.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import xxhash

from dolma_pipe import blocklists, storage
from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels import urls as kernels
from dolma_pipe.kernels.ranges import gather_ranges
from dolma_pipe.kernels.urls import Lists
from dolma_pipe.tagger import Field, Tagger, count, flag, string

pc: Any = pyarrow.compute
_LOWER = np.arange(256, dtype=np.uint8)
_LOWER[ord("A") : ord("Z") + 1] += 32

Paths = str | Sequence[str]


class Url(Tagger):
    """Host, registered domain and matches; "", false, 0 and none for a document without a URL.

    domains, hosts, urls, words, soft_words, subwords: lists, each a path or several. field: where `metadata` has the
    URL. private_suffixes: count names like `blogspot.com`, under which anybody may have a name, as public suffixes.

    `domains` match the host and its subdomains (`||example.org^`, `*.top` and hosts files are understood), `hosts` the
    host with or without `www.`, `urls` a host with or without `www.` and the beginning of what follows, up to a `/`,
    `?`, `#`, `&` or the end. `words` are runs of ASCII letters and digits anywhere in the URL; `subwords` occur in it
    once all but these is left out. Case never counts.
    """

    version = 1
    columns = ("metadata",)
    fields = {
        "has_url": flag("the metadata has a URL with a host"),
        "host": string("host in lower case, without user, port, brackets and final dot"),
        "registered_domain": string(
            'public suffix and one label more (`bbc.co.uk`), by the bundled public suffix list; "" for addresses and '
            "public suffixes"
        ),
        "domain_blocked": flag("the host or a parent of it is in a list of domains"),
        "host_blocked": flag("the host is in a list of hosts"),
        "url_blocked": flag("the URL begins with an entry of a list of URLs"),
        "hard_word_count": count("distinct words of the URL that are in a list of words"),
        "soft_word_count": count("distinct words of the URL that are in a list of soft words"),
        "subword_blocked": flag("a subword occurs in the URL's letters and digits"),
        "lists": Field(
            pa.list_(pa.string()),
            "names of all lists that matched, in the order of the config: file names up to the first dot",
        ),
    }

    def __init__(
        self,
        *,
        domains: Paths = (),
        hosts: Paths = (),
        urls: Paths = (),
        words: Paths = (),
        soft_words: Paths = (),
        subwords: Paths = (),
        field: str = "url",
        private_suffixes: bool = False,
    ) -> None:
        given = (domains, hosts, urls, words, soft_words, subwords)
        self.paths = {
            kind: [paths] if isinstance(paths, str) else list(paths)
            for kind, paths in zip(blocklists.KINDS, given, strict=True)
        }
        self.field, self.private_suffixes = field, private_suffixes
        every = [path for paths in self.paths.values() for path in paths]
        self.names = list(dict.fromkeys(blocklists.list_name(path) for path in every))
        if len(self.names) > blocklists.MOST_LISTS:
            raise ConfigError(f"url: {len(self.names)} lists; at most {blocklists.MOST_LISTS}, join some into one file")
        for path in every:
            if not storage.is_file(path):
                raise ConfigError(f"url: {path}: no such list")
        contents = [storage.content_hash(path) for path in (blocklists.PSL, *every)]
        self.model_hash = xxhash.xxh3_128_hexdigest(" ".join(contents).encode())

    @functools.cached_property
    def lists(self) -> Lists:
        return blocklists.make_lists(self.paths, self.names, self.private_suffixes)

    def tag(self, batch: Batch) -> dict[str, Any]:
        data, offsets = lowered(batch.metadata(self.field))
        places, flags, counts = kernels.match_urls(data, offsets, self.lists)
        starts, domains, ends = places.T
        return {
            "has_url": starts < ends,
            "host": strings(data, starts, ends),
            "registered_domain": strings(data, domains, ends),
            "domain_blocked": flags[:, kernels.DOMAIN] > 0,
            "host_blocked": flags[:, kernels.HOST] > 0,
            "url_blocked": flags[:, kernels.URL] > 0,
            "hard_word_count": counts[:, 0],
            "soft_word_count": counts[:, 1],
            "subword_blocked": flags[:, kernels.SUBWORD] > 0,
            "lists": self.names_of(np.bitwise_or.reduce(flags, axis=1)),
        }

    def names_of(self, flags: Any) -> pa.ListArray:
        """The lists behind the flags of each document; few combinations occur, so each is spelt out once."""
        distinct, rows = np.unique(flags, return_inverse=True)
        spelt = [[name for i, name in enumerate(self.names) if int(value) >> i & 1] for value in distinct]
        return pa.array(spelt, self.fields["lists"].type).take(pa.array(rows))


def lowered(urls: pa.StringArray) -> tuple[Any, Any]:
    """Bytes (uint8) and offsets (int64[n + 1]) of URLs in lower case, as far as ASCII goes; null is empty."""
    trimmed = pc.utf8_trim_whitespace(pc.fill_null(urls, "")).cast(pa.large_string())
    offsets = np.frombuffer(trimmed.buffers()[1], np.int64)[trimmed.offset : trimmed.offset + len(trimmed) + 1]
    data = np.frombuffer(trimmed.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    return _LOWER[data], offsets - offsets[0]


def strings(data: Any, starts: Any, ends: Any) -> pa.StringArray:
    """The strings `data[starts[i]:ends[i]]`."""
    found, offsets = gather_ranges(data, starts, ends)
    return pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(found))
