"""Keys and tokens in code: known prefixes, private keys, random characters assigned to a telling name.

A key is a long run without blanks, so nothing else is looked at; what begins one is then compared with the forms. Each
run is read a bounded number of times: linear for any text.
"""

from __future__ import annotations

import string

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.armour import next_private_key
from dolma_pipe.kernels.ascii import DIGIT, LETTER, WORD, table
from dolma_pipe.kernels.assignments import is_assigned
from dolma_pipe.kernels.masks import WIDTH, below, equal, first, last, most
from dolma_pipe.kernels.randomness import entropy, is_example, is_hexadecimal, is_name, is_random, is_uuid, is_varied

Found = tuple[np.ndarray, np.ndarray, np.ndarray]

WORDS, CAPITALS, ALPHANUMERIC, HEXADECIMAL = 1, 2, 4, 8
"""Alphabets of keys."""
_CLASS = (
    table(string.ascii_letters + string.digits + "_-") * WORDS
    + table(string.ascii_uppercase + string.digits) * CAPITALS
    + table(string.ascii_letters + string.digits) * ALPHANUMERIC
    + table(string.hexdigits) * HEXADECIMAL
).astype(np.uint8)

FORMS: tuple[tuple[str, int, int, int], ...] = (
    ("AKIA", CAPITALS, 16, 16), ("ASIA", CAPITALS, 16, 16),  # Amazon Web Services
    ("AIza", WORDS, 35, 35), ("ya29.", WORDS, 20, 400), ("GOCSPX-", WORDS, 20, 60),  # Google
    ("ghp_", ALPHANUMERIC, 36, 251), ("gho_", ALPHANUMERIC, 36, 251), ("ghu_", ALPHANUMERIC, 36, 251),  # GitHub
    ("ghs_", ALPHANUMERIC, 36, 251), ("ghr_", ALPHANUMERIC, 36, 251), ("github_pat_", WORDS, 36, 251),
    ("glpat-", WORDS, 20, 64), ("gldt-", WORDS, 20, 64), ("glrt-", WORDS, 20, 64), ("glptt-", WORDS, 20, 64),  # GitLab
    ("glcbt-", WORDS, 20, 64), ("glsoat-", WORDS, 20, 64), ("npm_", ALPHANUMERIC, 36, 36), ("pypi-", WORDS, 85, 400),
    ("xoxb-", WORDS, 20, 251), ("xoxp-", WORDS, 20, 251), ("xoxa-", WORDS, 20, 251),  # Slack
    ("xoxr-", WORDS, 20, 251), ("xoxs-", WORDS, 20, 251), ("xapp-", WORDS, 20, 251),
    ("sk-", WORDS, 20, 251), ("hf_", ALPHANUMERIC, 30, 64),  # OpenAI and others, Hugging Face
    ("sk_live_", ALPHANUMERIC, 16, 251), ("rk_live_", ALPHANUMERIC, 16, 251), ("sk_test_", ALPHANUMERIC, 16, 251),
    ("whsec_", ALPHANUMERIC, 24, 251),  # Stripe
    ("shpat_", HEXADECIMAL, 32, 32), ("shpss_", HEXADECIMAL, 32, 32),  # Shopify
    ("dop_v1_", HEXADECIMAL, 64, 64), ("SG.", WORDS, 40, 80),  # DigitalOcean, SendGrid
)  # fmt: skip
"""Prefix, alphabet and least and greatest length of what follows, as their issuers document them."""

_PARTED = [prefix for prefix, *_ in FORMS].index("SG.")
"""The form whose body has a dot."""

_WIDEST = max(len(prefix) for prefix, *_ in FORMS)
_PREFIXES = np.zeros((len(FORMS), _WIDEST), np.uint8)
for _form, (_prefix, *_) in enumerate(FORMS):
    _PREFIXES[_form, : len(_prefix)] = list(_prefix.encode())
_SIZES = np.array([len(prefix) for prefix, *_ in FORMS])
_ALPHABETS = np.array([alphabet for _, alphabet, _, _ in FORMS])
_LEAST, _GREATEST = np.array([least for *_, least, _ in FORMS]), np.array([greatest for *_, greatest in FORMS])

_TOKEN = table(string.ascii_letters + string.digits + "_-+/")
_SHORTEST, _LONGEST = 16, 256
_KNOWN_ENTROPY, _HEX_ENTROPY, _ENTROPY = 2.5, 3.0, 3.5
"""Least Shannon entropy in bits per character: behind a known prefix; assigned and hexadecimal; assigned otherwise."""

_HOOK_HOST, _HOOK = (np.frombuffer(text, np.uint8).copy() for text in (b"hooks.slack.", b"com/services/"))
"""What stands before the path of a webhook of Slack; a dot ends a run."""


@kernel
def find_secrets(data: np.ndarray, offsets: np.ndarray) -> Found:
    """(documents, starts, ends) of keys and tokens, in order; positions in bytes of `data`, none overlap."""
    size, count = 64, 0
    documents, starts, ends = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    counts = np.zeros(256, np.int64)
    for document in range(len(offsets) - 1):
        low, high = offsets[document], offsets[document + 1]
        at, key_start, key_end = low, low, low
        while at < high:
            if at >= key_start and key_start < high:
                key_start, key_end = next_private_key(data, at, high)
            start, end = _next_secret(data, low, at, key_start, high, counts)
            if start < 0:
                start, end = key_start, key_end
            if start == high:
                break
            if count == size:
                size *= 2
                documents, starts, ends = _longer(documents, size), _longer(starts, size), _longer(ends, size)
            documents[count], starts[count], ends[count] = document, start, end
            count += 1
            at = end
    return documents[:count], starts[:count], ends[:count]


@kernel
def _longer(array: np.ndarray, size: int) -> np.ndarray:
    grown = np.empty(size, array.dtype)
    for i in range(len(array)):
        grown[i] = array[i]
    return grown


@kernel
def _next_secret(data: np.ndarray, low: int, at: int, stop: int, high: int, counts: np.ndarray) -> tuple[int, int]:
    """(start, end) of the first secret of the first run that has one in `data[at:stop]`, or (-1, -1).

    `low:high` is the document; `counts` are 256 zeros to count with.
    """
    floor = at
    while True:
        at = _next_run(data, at, stop)
        if at == stop:
            break
        end = at + _SHORTEST
        while end < stop and _TOKEN[data[end]]:
            end += 1
        start, found = _secret_in(data, low, floor, high, at, end, counts)
        if found > 0:
            return start, found
        at = end + 1
    return -1, -1


@piece
def _tokens(data: np.ndarray, at: int) -> np.uint64:
    """The bytes from `at` on that are letters, digits, `_`, `-`, `+` or `/`."""
    found = (most(data, at, 0x39) & ~most(data, at, 0x2E)) | (most(data, at, 0x5A) & ~most(data, at, 0x40))
    found |= most(data, at, 0x7A) & ~most(data, at, 0x60)
    return found | equal(data, at, 0x5F) | equal(data, at, 0x2D) | equal(data, at, 0x2B)


@piece
def _next_run(data: np.ndarray, at: int, stop: int) -> int:
    """Where the first run of `_SHORTEST` such bytes begins in `data[at:stop]`, or `stop`."""
    begun = at
    while at < stop:
        inside = _tokens(data, at) & below(min(stop - at, WIDTH))
        if at - begun + first(~inside) >= _SHORTEST:
            return begun
        runs = inside & inside >> np.uint64(1)
        runs &= runs >> np.uint64(2)
        runs &= runs >> np.uint64(4)
        runs &= runs >> np.uint64(8)
        if runs:
            return at + first(runs)
        if ~inside:
            begun = at + last(~inside) + 1
        at += WIDTH
    return stop


@piece
def _secret_in(
    data: np.ndarray, low: int, floor: int, high: int, first: int, last: int, counts: np.ndarray
) -> tuple[int, int]:
    """(start, end) of the first secret that begins in the run `first:last`, or (-1, -1)."""
    if _is_hook(data, low, first, last) and entropy(data, first + len(_HOOK), last, counts) >= _ENTROPY:
        return first + len(_HOOK), last
    at = first
    while at < last:
        end = at
        while end < last and data[end] != 0x2B and data[end] != 0x2F:  # + /
            end += 1
        if end - at >= _SHORTEST:
            start = _with_short_part(data, floor, at)
            found = _known_end(data, high, start, counts)
            if found < 0:
                start = at
                found = _known_end(data, high, at, counts)
            found = found if found > 0 else _web_token_end(data, high, at)
            if found > 0:
                return start, found
        at = end + 1
    end = last
    while end < high and end - last < 2 and data[end] == 0x3D:  # =
        end += 1
    if end - first > _LONGEST or not is_random(data, first, last):
        return -1, -1
    weak = is_uuid(data, first, last)
    if not is_assigned(data, low, high, first, end, weak) or (is_name(data, first, last) and not weak):
        return -1, -1
    least = _HEX_ENTROPY if weak or is_hexadecimal(data, first, last) else _ENTROPY
    if is_example(data, first, last) or entropy(data, first, last, counts) < least:
        return -1, -1
    return first, end


@piece
def _is_hook(data: np.ndarray, low: int, first: int, last: int) -> bool:
    """Is the run `first:last` the end of a webhook of Slack, whose path is the secret?"""
    if first - low < len(_HOOK_HOST) or last - first < len(_HOOK) + _SHORTEST or last - first > _LONGEST:
        return False
    same = True
    for i in range(len(_HOOK)):
        same &= data[first + i] == _HOOK[i]
    for i in range(len(_HOOK_HOST)):
        same &= data[first - len(_HOOK_HOST) + i] == _HOOK_HOST[i]
    return same


@piece
def _with_short_part(data: np.ndarray, floor: int, at: int) -> int:
    """`at`, or the start of the short word that a dot sets apart in front of it: `SG.`, `ya29.`."""
    if at == floor or data[at - 1] != 0x2E:
        return at
    start = at - 1
    while start > floor and at - start < 6 and (LETTER[data[start - 1]] or DIGIT[data[start - 1]]):
        start -= 1
    return at if start > floor and WORD[data[start - 1]] else start


@piece
def _known_end(data: np.ndarray, high: int, start: int, counts: np.ndarray) -> int:
    """End of the key at `start` whose prefix is known and whose rest is no placeholder, or -1."""
    for form in range(len(_SIZES)):
        size = 0
        while size < _SIZES[form] and start + size < high and data[start + size] == _PREFIXES[form, size]:
            size += 1
        if size < _SIZES[form]:
            continue
        body = start + size
        end = body
        while end < high and end - body <= _GREATEST[form] and _CLASS[data[end]] & _ALPHABETS[form]:
            end += 1
        if form == _PARTED and end < high and data[end] == 0x2E:  # SG.xxx.yyy
            end += 1
            while end < high and end - body <= _GREATEST[form] and _CLASS[data[end]] & _ALPHABETS[form]:
                end += 1
        fits = end - body >= _LEAST[form] and end - body <= _GREATEST[form] and (end == high or not WORD[data[end]])
        if fits and entropy(data, body, end, counts) >= _KNOWN_ENTROPY and not is_example(data, body, end):
            return end if _ALPHABETS[form] != WORDS or is_varied(data, body, end) else -1
    return -1


@piece
def _web_token_end(data: np.ndarray, high: int, start: int) -> int:
    """End of the JSON web token at `start` (RFC 7519): two encoded objects, a signature, dots between; or -1."""
    at = start
    for part in range(3):
        first = at
        while at < high and _CLASS[data[at]] & WORDS:
            at += 1
        if part == 2:
            return at
        if at - first < 10 or at >= high or data[at] != 0x2E:
            return -1
        if data[first] != 0x65 or data[first + 1] != 0x79 or data[first + 2] != 0x4A:  # eyJ: {" encoded
            return -1
        at += 1
    return -1
