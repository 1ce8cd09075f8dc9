"""One form for the spellings of a URL that lead to one page, so that equal pages get equal keys.

What RFC 3986 (section 6.2.2 and 6.2.3) calls equivalent is always folded: case
of scheme and host, default port, percent-encoding, dot segments, empty path;
so are the two ways to write an international name (RFC 3490).
What is only likely to be the same page is a named rule of `UrlRules`.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dolma_pipe.config import Config

TRACKING = (
    "utm_*", "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "yclid", "twclid", "ttclid",
    "li_fat_id", "igshid", "igsh", "mc_cid", "mc_eid", "mkt_tok", "_ga", "_gl", "_hsenc", "_hsmi", "hsctatracking",
    "pk_campaign", "pk_kwd", "pk_source", "pk_medium", "piwik_*", "matomo_*", "mtm_*", "wt_mc", "wt.mc_id", "vero_id",
    "oly_anon_id", "oly_enc_id",
)  # fmt: skip
"""Names (globs, any case) of query parameters that say where a reader came from, never which page this is."""


class UrlRules(Config, frozen=True):
    """Which differences between two URLs do not make two pages.

    `tracking` replaces the list of parameters to drop: an empty one keeps all of them.
    """

    ignore_scheme: bool = True  # http and https
    ignore_fragment: bool = True  # but not #! and #/, which single-page sites route by
    ignore_trailing_slash: bool = True
    tracking: tuple[str, ...] = TRACKING


DEFAULT = UrlRules()
pc: Any = pyarrow.compute
_PORTS = {"http": "80", "https": "443", "ftp": "21"}
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F))
_NAME = re.compile(r"[\w.-]{1,253}")
_SEGMENT = r"/[A-Za-z0-9_~!$'()*+,;=:@-][A-Za-z0-9_~!$'()*+,;=:@.-]*"
_PLAIN = rf"^https?://[a-z0-9-]+(\.[a-z0-9-]+)*({_SEGMENT})+/?$"


def normalize_url(url: str, rules: UrlRules = DEFAULT) -> str:
    """The one form of `url`; what has no `scheme://` comes back as it is, but for surrounding white space."""
    found = _PARTS.fullmatch(url.strip())
    if found is None:
        return url.strip()
    scheme, authority, path, query, fragment = found.groups("")
    scheme = scheme.lower()
    path = _trim(_without_dots(_unescape(path)), rules)
    kept = [part for part in _unescape(query).split("&") if part and not _tracks(part, rules)]
    fragment = _unescape(fragment)
    if rules.ignore_fragment and not fragment.startswith(("!", "/")):
        fragment = ""
    folded = "https" if rules.ignore_scheme and scheme == "http" else scheme
    host = _host(_host(authority, scheme), folded)
    return f"{folded}://{host}{path}{'?' if kept else ''}{'&'.join(kept)}{'#' if fragment else ''}{fragment}"


def normalize_urls(urls: pa.StringArray, rules: UrlRules = DEFAULT) -> pa.StringArray:
    """`normalize_url` of every value; nulls stay. Most URLs are plain ones, which Arrow folds without Python."""
    plain = np.asarray(pc.fill_null(pc.match_substring_regex(urls, _PLAIN), False))
    folded = pc.replace_substring_regex(urls, "^http://", "https://") if rules.ignore_scheme else urls
    if rules.ignore_trailing_slash:
        folded = pc.utf8_rtrim(folded, "/")
    rest = ~plain & np.asarray(urls.is_valid())
    if not rest.any():
        return folded
    slow = [normalize_url(url, rules) for url in urls.filter(pa.array(rest)).to_pylist()]
    return pc.replace_with_mask(folded, pa.array(rest), pa.array(slow, pa.string()))


def _host(authority: str, scheme: str) -> str:
    user, at, host = authority.rpartition("@")
    name, colon, port = host.rpartition(":")
    if colon and (port.isdigit() or not port):
        end = "" if port in ("", _PORTS.get(scheme)) else f":{port}"
    else:
        name, end = host, ""
    return f"{user}{at}{_name(name).rstrip('.')}{end}"


def _name(host: str) -> str:
    """In lower case, and as DNS has it: every label that is not ASCII in Punycode."""
    if host.isascii() and "%" not in host:
        return host.lower()
    folded = unicodedata.normalize("NFKC", unquote(host)).lower().replace("\u3002", ".")
    if not _NAME.fullmatch(folded):
        return host.lower()
    labels = folded.split(".")
    return ".".join(label if label.isascii() else "xn--" + label.encode("punycode").decode() for label in labels)


def _unescape(part: str) -> str:
    """Escapes in capitals, none where the character needs none, and one wherever a character needs it."""
    if "%" in part:
        part = _ESCAPE.sub(_unescape_one, part)
    return part if part.isascii() and " " not in part else quote(part, safe=_SAFE)


def _unescape_one(escape: re.Match[str]) -> str:
    character = chr(int(escape.group(1), 16))
    return character if character in _UNRESERVED else escape.group().upper()


def _without_dots(path: str) -> str:
    """RFC 3986, section 5.2.4."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _trim(path: str, rules: UrlRules) -> str:
    return path.rstrip("/") if rules.ignore_trailing_slash else path or "/"


def _tracks(parameter: str, rules: UrlRules) -> bool:
    return _tracking(rules.tracking).fullmatch(parameter.partition("=")[0]) is not None


@lru_cache(maxsize=8)
def _tracking(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(name) for name in names) or r"(?!)", re.IGNORECASE)
