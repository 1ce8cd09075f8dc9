"""What the kernels for personal data find, in plain Python over the bytes of one document: slow, and by definition.

Only the vocabulary is shared with the kernels: words around numbers, prefixes of keys, calling codes.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter

from dolma_pipe.kernels import assignments, cues, email, phone, pii, secrets

SEPARATOR = rb"(?:[ .-]|\xc2\xa0|\xe2\x80[\x90-\x93\xaf])"
OPENS = rb"(?<![\w#$%+@])(?<!\w[./-])(?<!\.\.)(?<!--)(?<!//)"
CLOSES = rb"(?![\w@%]|[./-][0-9])"


def regex(*parts: bytes) -> re.Pattern[bytes]:
    return re.compile(b"".join(parts), re.DOTALL)


def end_of(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    found = pattern.match(data, start)
    return found.end() if found else -1


# Words around numbers ----------------------------------------------------------------------------------------------


def forms(words: str) -> set[bytes]:
    """The words, and those beyond ASCII with a capital too, which no one lowers."""
    return {bytes(form, "utf-8").lower() for word in words.split() for form in (word, word.capitalize())}


VOCABULARY = {kind: forms(words) for kind, words in cues.WORDS.items()}
BETWEEN = regex(rb"(?:[ \t\r\n:.?()\[\]/#*|=_\"'+-]|\xc2\xa0|\xef\xbc\x9a)*\Z")
LAST_WORD = regex(rb"(?:[A-Za-z]|(?!\xef\xbc|\xe3\x80)[\xc2-\xf4][\x80-\xbf]+)*\Z")
BEHIND = regex(rb"[ (-]{0,3}([A-Za-z]{1,15})(?!\w)[ \t]{0,16}(?=\Z|[\r\n,;|/\\)\]<*-])")


def named(data: bytes, start: int) -> int:
    """What up to five words in front of a number call it."""
    at, preposition = start, False
    for step in range(5):
        gap = BETWEEN.search(data[:at])[0]
        colon = b":" in gap or "：".encode() in gap
        if len(gap) > 12 or (b"\n" in gap and not colon):
            return 0
        word = LAST_WORD.search(data[: at - len(gap)])[0]
        kinds = {kind for kind, words in VOCABULARY.items() if word.lower() in words}
        names = kinds & {cues.PHONE, cues.CARD, cues.SSN, cues.BOOK}
        if names:
            return names.pop()
        if (cues.REACH in kinds and preposition) or (cues.PLACE in kinds and colon and step == 0):
            return cues.PLACE
        if not kinds & {cues.FILLER, cues.PREPOSITION}:
            return 0
        preposition |= cues.PREPOSITION in kinds
        at -= len(gap) + len(word)
    return 0


def called_behind(data: bytes, end: int) -> bool:
    found = BEHIND.match(data, end)
    return found is not None and found[1].lower() in VOCABULARY[cues.BEHIND]


# Telephone numbers -------------------------------------------------------------------------------------------------

EXTENSION = regex(rb"(?: ?(?:[xX]|[eE][xX][tT]\.?) ?[0-9]{1,6}", CLOSES, rb")?", CLOSES)
NXX = rb"(?:(?!.11)[2-9][0-9]{2})"
CLOSED = regex(
    OPENS, rb"(?:1", SEPARATOR, rb"?)?\(", NXX, rb"\)(?:/|", SEPARATOR, rb"? ?)", NXX, SEPARATOR, rb"?[0-9]{4}"
)  # fmt: skip
OPEN = regex(
    OPENS, rb"(?:1", SEPARATOR, rb")?", NXX, rb"(/|", SEPARATOR, rb" ?)", NXX, rb"(", SEPARATOR, rb")[0-9]{4}"
)  # fmt: skip
CODES = {str(code).encode() for code in range(1000) if phone.CALLING_CODES[code]}
YEAR = regex(rb"(?:19|20)[0-9]{2}")


def national(data: bytes, start: int) -> int:
    found = CLOSED.match(data, start) or OPEN.match(data, start)
    if found is None or named(data, start) == cues.BOOK:
        return -1
    in_a_row = re.search(rb"[0-9] \Z", data[:start]) or re.match(rb" [0-9]", data[found.end() :])
    if found.lastindex and found[1][:1] == found[2] == b" " and in_a_row:
        return -1
    return end_of(EXTENSION, data, found.end())


class Groups:
    """At most sixteen digits at `start`, in groups; `before` is where all but the last group ended."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.digits, self.gaps, self.before = data, b"", [], start
        self.opened = data[start : start + 1] == b"("
        self.end = start + self.opened
        while True:
            group = re.compile(rb"[0-9]{0,%d}" % (16 - len(self.digits))).match(data, self.end)[0]
            self.digits += group
            self.end += len(group)
            gap = self._gap() if 0 < len(self.digits) < 16 else b""
            if not gap:
                break
            self.before = start if self.opened else self.end
            self.opened = gap.endswith(b"(") or (self.opened and not gap.startswith(b")"))
            self.gaps.append(gap)
            self.end += len(gap)
        self.count = 0 if self.opened else len(self.digits)
        self.is_fraction = len(self.gaps) == 1 and self.gaps[0][:1] == b"."

    def _gap(self) -> bytes:
        """`)`, a separator or slash, `(`: each may be missing; a group follows, one of the first perhaps enclosed."""
        closing = rb"\)?" if self.opened else rb""
        gap = regex(closing, rb"(?:/|", SEPARATOR, rb")?").match(self.data, self.end)[0]
        if len(self.digits) <= 5 and (not self.opened or gap[:1] == b")"):
            gap += regex(rb"\(?").match(self.data, self.end + len(gap))[0]
        return gap if self.data[self.end + len(gap) : self.end + len(gap) + 1].isdigit() else b""


def dialled(data: bytes, start: int) -> tuple[int, Groups]:
    found = Groups(data, start)
    end = end_of(EXTENSION, data, found.end)
    glued = end < 0 and not data[found.end : found.end + 1].isdigit()
    if (glued or found.count > 15) and found.before > start:
        found = Groups(data[: found.before], start)
        end = end_of(EXTENSION, data, found.end)
    return end, found


def is_international(found: Groups) -> bool:
    if not 8 <= found.count <= 15 or found.is_fraction:
        return False
    if found.digits[:1] == b"1":
        return found.count >= 11 and found.digits[1:2] >= b"2"
    return any(found.digits[:size] in CODES for size in (1, 2, 3))


def international(data: bytes, start: int) -> int:
    if regex(rb"(?<![\w+)])\+[1-9]").match(data, start) is None:
        return -1
    end, found = dialled(data, start + 1)
    return end if is_international(found) else -1


def abroad(data: bytes, start: int) -> int:
    prefix = regex(OPENS, rb"(?:00|011)", SEPARATOR, rb"?(?=[1-9])").match(data, start)
    if prefix is None:
        return -1
    end, found = dialled(data, prefix.end())
    return end if found.gaps and is_international(found) else -1


def is_date(text: bytes) -> bool:
    lead, middle, tail = re.fullmatch(rb"([0-9]*)(.*?)([0-9]*)", text, re.DOTALL).groups()
    leads, ends = YEAR.fullmatch(lead) is not None, YEAR.fullmatch(tail) is not None
    if not middle:
        return False
    range_of_years = leads and ends and len(middle) == 1
    return range_of_years or (len(middle) <= 4 and ((leads and len(tail) <= 2) or (ends and len(lead) <= 2)))


def announced(data: bytes, start: int) -> int:
    if regex(OPENS).match(data, start) is None:
        return -1
    end, found = dialled(data, start)
    if not 7 <= found.count <= 15 or found.is_fraction or is_date(data[start : found.end]):
        return -1
    about = named(data, start)
    if about == cues.PHONE:
        return end
    shaped = found.gaps or regex(NXX, NXX, rb"[0-9]{4}").fullmatch(found.digits)
    return end if shaped and (about == cues.PLACE or (about == 0 and end > 0 and called_behind(data, end))) else -1


def is_announced(data: bytes, start: int, end: int) -> bool:
    return named(data, start) in (cues.PHONE, cues.PLACE) or called_behind(data, end)


# Cards, accounts, persons ------------------------------------------------------------------------------------------

GROUPED = [[4, 4, 4, 4, 3], [4, 4, 4, 4], [4, 6, 5], [4, 6, 4]]
CARDS = [
    regex(OPENS, separator.join(rb"[0-9]{%d}" % size for size in sizes), rb"(?![0-9])", CLOSES)
    for sizes in GROUPED
    for separator in (rb" ", rb"-")
]
ONE_GROUP = regex(OPENS, rb"[0-9]{12,19}(?![0-9])", CLOSES)
ISSUED = re.compile(
    rb"4[0-9]{12}(?:[0-9]{3}){0,2}|5[1-5][0-9]{14}"
    rb"|(?:222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|3[47][0-9]{13}|(?:2131|1800)[0-9]{11}"
    rb"|(?:30[0-5][0-9]|3095|3[689][0-9]{2})[0-9]{10}|(?:50[0-9]{2}|5893|6304|6759|676[1-3])[0-9]{8,15}"
    rb"|(?:6011|65[0-9]{2}|64[4-9][0-9]|352[89]|35[3-8][0-9]|62[0-9]{2}|220[0-4])[0-9]{12,15}"
)
SSN = regex(OPENS, rb"([0-9]{3})([ -]?)([0-9]{2})\2([0-9]{4})(?![0-9])", CLOSES)
LENGTHS = (
    "NO15 BE16 DK18 FI18 FK18 FO18 GL18 NL18 SD18 MK19 SI19 AT20 BA20 EE20 KZ20 LT20 LU20 MN20 XK20 CH21 HR21 "
    "LI21 LV21 BG22 BH22 CR22 DE22 GB22 GE22 IE22 ME22 RS22 VA22 AE23 GI23 IL23 IQ23 OM23 SO23 TL23 AD24 CZ24 "
    "ES24 MD24 PK24 RO24 SA24 SE24 SK24 TN24 VG24 LY25 PT25 ST25 IS26 TR26 BI27 DJ27 FR27 GR27 IT27 MC27 MR27 "
    "SM27 AL28 AZ28 BY28 CY28 DO28 GT28 HN28 HU28 LB28 NI28 PL28 SV28 BR29 EG29 PS29 QA29 UA29 JO30 KW30 MU30 "
    "YE30 MT31 SC31 LC32 RU33"
)
COUNTRIES = {entry[:2].encode(): int(entry[2:]) for entry in LENGTHS.split()}


def luhn(digits: bytes) -> bool:
    doubled = [sum(divmod(2 * int(chr(digit)), 10)) for digit in digits[-2::-2]]
    return (sum(int(chr(digit)) for digit in digits[::-2]) + sum(doubled)) % 10 == 0


def card(data: bytes, start: int) -> int:
    found = ONE_GROUP.match(data, start)
    for pattern in CARDS:
        found = found or pattern.match(data, start)
    digits = re.sub(rb"[^0-9]", b"", found[0]) if found else b""
    if found is None or not luhn(digits):
        return -1
    usual = ISSUED.fullmatch(digits) and (digits != found[0] or 14 <= len(digits) <= 16)
    return found.end() if usual or named(data, start) == cues.CARD else -1


def ssn(data: bytes, start: int) -> int:
    found = SSN.match(data, start)
    if found is None or found[1] in (b"000", b"666") or found[1] >= b"900" or found[3] == b"00" or found[4] == b"0000":
        return -1
    return found.end() if found[2] == b"-" or named(data, start) == cues.SSN else -1


def iban(data: bytes, start: int) -> int:
    """The end of the account number whose country's letters are at `start`."""
    country = data[start : start + 2].upper()
    length = COUNTRIES.get(country, 0)
    if length == 0 or regex(rb"(?<!\w)[A-Za-z]{2}[0-9]{2}").match(data, start) is None:
        return -1
    text, at = data[start : start + 4], start + 4
    while len(text) < length:
        if len(text) % 4 == 0 and re.match(rb" .", data[at:], re.DOTALL):
            at += 1
        if not regex(rb"[0-9A-Za-z]").match(data, at):
            return -1
        text += data[at : at + 1]
        at += 1
    digits = "".join(str(int(chr(byte), 36)) for byte in text[4:] + text[:4])
    return at if int(digits) % 97 == 1 and not regex(rb"\w").match(data, at) else -1


# Addresses ---------------------------------------------------------------------------------------------------------

IPV4 = regex(rb"(?<![\w.])(?<![A-Za-z][-/])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w)(?!\.\w)(?!-[A-Za-z])")
LOCAL = regex(rb"(?:[A-Za-z0-9_%+-]|[\xc3-\xd4][\x80-\xbf]|\.(?!\.))+\Z")
NO_START = regex(rb"(?:[.%+-]|\xcc[\x80-\xbf]|\xcd[\x80-\xaf])*")
LABEL = regex(rb"(?:[A-Za-z0-9-]|(?!\xcc)(?!\xcd[\x80-\xaf])[\xc3-\xd4][\x80-\xbf])*")
TOP_LEVEL = regex(rb"[A-Za-z\x80-\xff]{2,}|[xX][nN]--.+")
FILE_NAMES = {name.encode() for name in email.FILE_NAMES}


def ipv6(data: bytes, floor: int, colon: int) -> tuple[int, int, int]:
    """(start, end, where to go on) of the address around a colon, start -1 for none."""
    start = colon - len(regex(rb"[0-9A-Fa-f]{0,5}\Z").search(data[floor:colon])[0])
    run = regex(rb"[0-9A-Fa-f:.]+").match(data, colon)[0]
    end = colon + len(run)
    shown = run
    while len(shown) > 1 and (shown.endswith(b".") or (shown.endswith(b":") and not shown.endswith(b"::"))):
        shown = shown[:-1]
    colons = shown.count(b":")
    fits = colon - start < 5 and colon + len(shown) - start <= 45 and (colons == 7 or (b"::" in run and colons < 8))
    alone = regex(rb"(?<![\w.:])|(?<=[^0-9A-Fa-f:]:)").match(data, start) and not regex(rb"\w").match(data, end)
    if fits and alone:
        return start, colon + len(shown), colon + len(shown)
    return -1, -1, (end if end - start > 45 else colon + 1)


def email_around(data: bytes, floor: int, at: int) -> tuple[int, int]:
    local = LOCAL.search(data[floor:at])
    if local is None or len(local[0]) > 64 or local[0].endswith(b".") or data[floor:at][: local.start()].endswith(b"@"):
        return -1, -1
    start = floor + local.start() + NO_START.match(local[0]).end()
    end = domain_end(data, at + 1) if start < at else -1
    return (start, end) if end > 0 else (-1, -1)


def domain_end(data: bytes, start: int) -> int:
    found, labels, at = -1, 0, start
    while at < len(data) and at - start <= 253:
        label = LABEL.match(data, at)[0]
        shown, end = label.rstrip(b"-"), at + len(label)
        if not 0 < len(label) <= 63 or label.startswith(b"-"):
            break
        sentence = re.match(rb"[A-Z][a-z\x80-\xff]", shown) and not re.match(rb"\.[A-Za-z0-9-]", data[end:])
        if found > 0 and sentence:
            break
        labels += 1
        if labels > 1 and TOP_LEVEL.fullmatch(shown) and shown.lower() not in FILE_NAMES:
            found = at + len(shown)
        if shown != label or data[end : end + 1] != b".":
            break
        at = end + 1
    return found


# All of them -------------------------------------------------------------------------------------------------------


def candidates(data: bytes) -> list[tuple[int, int, int]]:
    """(kind, start, end) of what `find_candidates` finds in one document."""
    found: list[tuple[int, int, int]] = []
    at = floor = 0
    while (anchor := regex(rb"[@+(:0-9]").search(data, at)) is not None:
        kind, start, at = candidate(data, floor, anchor.start())
        if kind:
            found.append((kind, start, at))
            floor = at
    return found


def candidate(data: bytes, floor: int, at: int) -> tuple[int, int, int]:
    sign = data[at : at + 1]
    if sign == b"@":
        start, end = email_around(data, floor, at)
        return (pii.EMAIL, start, end) if end > 0 else (0, 0, at + 1)
    if sign == b":":
        start, end, following = ipv6(data, floor, at)
        return (pii.IP, start, end) if end > 0 else (0, 0, following)
    if sign == b"+":
        end = international(data, at)
        kind = pii.PHONE if end > 0 and is_announced(data, at, end) else pii.INTERNATIONAL
        return (kind, at, end) if end > 0 else (0, 0, at + 1)
    if sign == b"(":
        end = national(data, at)
        end = end if end > 0 else announced(data, at)
        return (pii.PHONE, at, end) if end > 0 else (0, 0, at + 1)
    return number(data, floor, at, len(regex(rb"[0-9]+").match(data, at)[0]))


def number(data: bytes, floor: int, at: int, length: int) -> tuple[int, int, int]:
    if at - 2 >= floor and data[at - 1 : at].isalpha():
        end = iban(data, at - 2)
        return (pii.IBAN, at - 2, end) if end > 0 else (0, 0, at + length)
    tries = [
        (pii.IP, length <= 3, lambda: end_of(IPV4, data, at)),
        (pii.CREDIT_CARD, length == 4 or length >= 12, lambda: card(data, at)),
        (pii.SSN, length in (3, 9), lambda: ssn(data, at)),
        (pii.PHONE, length == 3 or (length == 1 and data[at : at + 1] == b"1"), lambda: national(data, at)),
        (pii.PHONE, length <= 15, lambda: announced(data, at)),
        (pii.ABROAD, length <= 15, lambda: abroad(data, at)),
    ]
    for place, (kind, fits, end_of_it) in enumerate(tries):
        end = end_of_it() if fits else -1
        if end > 0:
            spaced = place == 4 and at - 2 >= floor and data[at - 2 : at] == b"+ "
            return kind, at - 2 * spaced, end
    return 0, 0, at + length


# Keys and tokens ---------------------------------------------------------------------------------------------------

ALPHABETS = {
    secrets.WORDS: rb"[A-Za-z0-9_-]", secrets.CAPITALS: rb"[A-Z0-9]", secrets.ALPHANUMERIC: rb"[A-Za-z0-9]",
    secrets.HEXADECIMAL: rb"[0-9A-Fa-f]",
}  # fmt: skip
WEB_TOKEN = regex(rb"(?:eyJ[A-Za-z0-9_-]{7,}\.){2}[A-Za-z0-9_-]*")
KEY_NAME = rb"(?:[A-Z ]{0,29}PRIVATE KEY|[A-Z ]{0,23}PRIVATE KEY BLOCK)-----"


def spelled(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Any of the names, in any case, perhaps with separators between its letters."""
    return re.compile(b"|".join(rb"[-_.]*".join(map(b"%c".__mod__, name.encode())) for name in names), re.I)


TELLING, STRONG, HARMLESS = map(spelled, (assignments.NAMES, assignments.NAMES[1:], assignments.HARMLESS))
UUID = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
NAME = regex(rb"[A-Za-z0-9_.-]{0,40}\Z")
HOOK = regex(rb"hooks\.slack\.com/services/\Z")


def entropy(text: bytes) -> float:
    return sum(count * math.log2(len(text) / count) for count in Counter(text).values()) / max(len(text), 1)


def is_random(text: bytes) -> bool:
    kinds = "".join("a" if chr(byte).isalpha() else "1" for byte in text if chr(byte).isalnum())
    return kinds.count("a1") + kinds.count("1a") >= 3


def is_varied(text: bytes) -> bool:
    kinds = "".join("1" if c.isdigit() else "a" if c.islower() else "A" for c in text.decode() if c.isalnum())
    return sum(one != other for one, other in itertools.pairwise(kinds)) >= 5


def is_name(text: bytes) -> bool:
    parts = re.split(rb"[-_/]", text)
    mixed = re.search(rb"[a-z]", text) is not None and re.search(rb"[A-Z]", text) is not None
    if len(parts) > 1 and max(map(len, parts)) < (8 if mixed else 16):
        return True
    return mixed and len(re.findall(rb"[a-z](?=[a-z])", text)) * 20 >= 9 * (len(text) - 1)


def known_end(data: bytes, start: int) -> int:
    for prefix, alphabet, least, most in secrets.FORMS:
        if not data.startswith(prefix.encode(), start):
            continue
        body = start + len(prefix)
        parts = rb"*(?:\." + ALPHABETS[alphabet] + rb"*)?" if prefix == "SG." else rb"*"
        text = regex(ALPHABETS[alphabet], parts).match(data, body)
        if (
            text
            and least <= len(text[0]) <= most
            and not regex(rb"\w").match(data, text.end())
            and entropy(text[0]) >= 2.5
            and b"example" not in text[0].lower()
        ):
            return text.end() if alphabet != secrets.WORDS or is_varied(text[0]) else -1
    return -1


def is_assigned(data: bytes, start: int, end: int, weak: bool) -> bool:
    before, quote = data[:start], data[start - 1 : start] if start else b""
    if quote in (b'"', b"'", b"`"):
        escaped = before.endswith(b"\\" + quote) and data[end : end + 1] == b"\\"
        if data[end + escaped : end + escaped + 1] != quote:
            return False
        before = before[: -1 - escaped]
    elif not regex(rb"\Z|[ \t\r\n;,&)}\]'\"`#<\\|]").match(data, end):
        return False
    value, quoted = len(before), quote in (b'"', b"'", b"`")
    if not quoted and before.endswith(b">") and data[end : end + 1] == b"<":
        return tells(before[:-1], b">", weak)
    before = re.sub(rb"[ \t]{0,4}\Z", b"", before)
    before = before.removesuffix(b">")
    if quoted and re.search(rb"\(\Z|\((['\"`])[A-Za-z0-9_.-]{0,40}\1,\Z", before):
        before = before[:-1]
    elif not before.endswith((b"=", b":")):
        apart = len(before) < value
        is_bearer = re.search(rb"(?i)(?<!\w)bearer\Z", before) is not None
        return apart and (is_bearer or (NAME.search(before)[0].startswith(b"-") and tells(before, b"", weak)))
    else:
        before = before[:-1].removesuffix(b":")
    before = before[: len(before) - len(re.search(rb"[ \t\"'\])\\]{0,6}\Z", before)[0])]
    if real := re.search(rb"(?i)[ \t\r\n\"']{1,40}value\Z", before):
        return tells(before[: real.start()], b"", weak)
    return tells(before, data[len(before) : len(before) + 1], weak)


def tells(before: bytes, behind: bytes, weak: bool) -> bool:
    """`behind` is the byte behind the name."""
    name = NAME.search(before)[0]
    if behind == b":" and before[: len(before) - len(name)].endswith(b":"):
        return False
    return (STRONG if weak else TELLING).search(name) is not None and HARMLESS.search(name) is None


def secret_in(data: bytes, floor: int, first: int, last: int) -> tuple[int, int]:
    path = first + len(b"com/services/")
    if 16 <= last - path <= 256 - 13 and HOOK.search(data[:path]) and entropy(data[path:last]) >= 3.5:
        return path, last
    for part in re.finditer(rb"[^+/]{16,}", data[first:last]):
        at = first + part.start()
        short = re.search(rb"(?<!\w)[A-Za-z0-9]{1,5}\.\Z", data[floor:at])
        for start in (at - len(short[0]) if short else at, at):
            if (end := known_end(data, start)) > 0:
                return start, end
        if (end := end_of(WEB_TOKEN, data, at)) > 0:
            return at, end
    end = last + len(re.match(rb"={0,2}", data[last:])[0])
    text = data[first:last]
    weak = UUID.fullmatch(text) is not None
    least = 3.0 if weak or re.fullmatch(rb"[0-9A-Fa-f]+", text) else 3.5
    if end - first > 256 or not is_random(text) or not is_assigned(data, first, end, weak):
        return -1, -1
    odd = (is_name(text) and not weak) or b"example" in text.lower()
    return (-1, -1) if odd or entropy(text) < least else (first, end)


def armour_end(data: bytes, header: int) -> int:
    begins = regex(rb"BEGIN ", KEY_NAME).match(data, header)
    if begins is None:
        return -1
    stop = min(len(data), header + 16384)
    lines, hyphens = -1, data.find(b"-----", begins.end(), stop)
    for line in re.finditer(rb"[A-Za-z0-9+/=]{32,}", data[: hyphens if hyphens >= 0 else stop]):
        if line.start() >= begins.end() and line.start() + 31 - max(lines, begins.end()) < 256:
            lines = line.end()
    if lines < 0 or hyphens < 0 or hyphens + 4 - lines >= 256:
        return lines
    footer = end_of(regex(rb"END ", KEY_NAME), data, hyphens + 5)
    return footer if footer > 0 else lines


def private_key(data: bytes, at: int) -> tuple[int, int]:
    for hyphens in re.finditer(rb"-{5,}", data[at:]):
        end = at + hyphens.end()
        if (stop := armour_end(data, end)) > 0:
            return end - 5, stop
    return len(data), len(data)


def keys_and_tokens(data: bytes) -> list[tuple[int, int]]:
    """(start, end) of what `find_secrets` finds in one document."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        key = private_key(data, at)
        runs = re.finditer(rb"[A-Za-z0-9_+/-]{16,}", data[at : key[0]])
        each = (secret_in(data, at, at + run.start(), at + run.end()) for run in runs)
        start, at = next((span for span in each if span[1] > 0), key)
        if start < len(data):
            found.append((start, at))
    return found
