"""Secrets planted in real code, and what is like them: for `python -m benchmarks.pii`, since no text is labelled.

Every value is drawn by a hash of (seed, kind, number), in the form that its issuer documents; none was ever given out.
What is no secret but looks random is planted too, as it occurs in code: hashes of commits and files, UUIDs, images,
names, placeholders.
"""

from __future__ import annotations

import base64
import hashlib
import json
import string
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

ALNUM = string.ascii_letters + string.digits
DIGITS = string.digits
CAPITALS = string.ascii_uppercase + string.digits
WORD = ALNUM + "_-"
BASE64 = ALNUM + "+/"
HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"
HOOKS = "hooks.slack.com/services/"
EACH = 200
"""Values planted of each kind."""


class Draw:
    """Chance from a hash: the same for the same name, whatever else was drawn."""

    def __init__(self, *name: object) -> None:
        self._name, self._block, self._left = repr(name).encode(), 0, b""

    def byte(self) -> int:
        if not self._left:
            self._left = hashlib.blake2b(self._name, salt=self._block.to_bytes(16, "little")).digest()
            self._block += 1
        first, self._left = self._left[0], self._left[1:]
        return first

    def bytes(self, length: int) -> bytes:
        return bytes(self.byte() for _ in range(length))

    def below(self, bound: int) -> int:
        return int.from_bytes(self.bytes(6)) % bound

    def one(self, *choices: str) -> str:
        return choices[self.below(len(choices))]

    def text(self, alphabet: str, *lengths: int) -> str:
        """So many characters, or one of several numbers of them."""
        return "".join(self.one(*alphabet) for _ in range(lengths[self.below(len(lengths))]))

    def base64(self, *lengths: int) -> str:
        return base64.b64encode(self.bytes(lengths[self.below(len(lengths))])).decode()

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.bytes(16), version=4))

    def words(self, count: int, between: str, capital: bool) -> str:
        """A name of words and numbers, as programmers give them."""
        words = [self.one(*NAME_WORDS) for _ in range(count)]
        return between.join(word.capitalize() if capital else word for word in words)


class Kind(NamedTuple):
    """How values of a kind are made, and the lines that they stand in."""

    make: Callable[[Draw], str]
    lines: Sequence[str]


class Planted(NamedTuple):
    """A value in a document."""

    kind: str
    document: int
    start: int
    end: int


ANYWHERE = (
    'client = Client("%s")', "const k = '%s';", "export VALUE=%s", "  - %s", '"id": "%s",', "# use %s here", "x: %s",
    "curl -u %s: https://api.example.com/v1", "https://%s@example.com/repo.git", '<add value="%s"/>', "run(`%s`)",
)  # fmt: skip
"""Where a key of a known form may stand: nothing around it need tell of one."""

NAMES = (
    "api_key", "API_KEY", "apiKey", "ApiKey", "secret", "SECRET_KEY", "secret_key", "client_secret", "clientSecret",
    "access_token", "accessToken", "AUTH_TOKEN", "token", "password", "DB_PASSWORD", "passwd", "private_key",
    "aws_secret_access_key", "credentials", "encryption_key", "AccountKey", "x-api-key", "auth_key", "signing_key",
)  # fmt: skip
ASSIGNMENTS = (
    'NAME = "%s"', "NAME = '%s'", "export NAME=%s", '"NAME": "%s",', "NAME: %s", "'NAME' => '%s',", 'NAME := "%s"',
    'private static final String NAME = "%s";', "NAME=%s", "<NAME>%s</NAME>", '<add key="NAME" value="%s" />',
    "https://example.com/v1?NAME=%s&page=2", "  NAME: '%s',", 'set("NAME", "%s")', "--NAME %s", '@NAME("%s")',
)  # fmt: skip
TELLING = tuple(form.replace("NAME", name) for form in ASSIGNMENTS for name in NAMES)
STRONG = tuple(form.replace("NAME", name) for form in ASSIGNMENTS[:9] for name in NAMES if "oken" not in name.lower())
NAME_WORDS = (
    "utf8", "base64", "sha256", "config", "v2", "token", "secret", "provider", "factory", "s3", "x509", "key", "store",
    "oauth2", "handler", "db", "prod", "us", "east", "1", "replica", "3", "tls", "default", "manager", "test", "api",
)  # fmt: skip


def _private_key(draw: Draw) -> str:
    label = draw.one("RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY")
    encoded = draw.base64(121) if label.startswith("EC") else draw.base64(610, 1190)
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    return draw.one("\n", "\n", "\\n").join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"])


def _web_token(draw: Draw) -> str:
    claims = {"sub": draw.text(DIGITS, 10), "name": draw.text(ALNUM, 8), "iat": 1500000000 + draw.below(1 << 27)}
    plain = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*plain, draw.bytes(32)))


def _slack(draw: Draw) -> str:
    numbers = f"{draw.text(DIGITS, 11, 12, 13)}-{draw.text(DIGITS, 11, 12, 13)}"
    return draw.one(
        f"xoxb-{numbers}-{draw.text(ALNUM, 24)}",
        f"xoxp-{numbers}-{draw.text(DIGITS, 12)}-{draw.text(HEX, 32)}",
        f"xapp-1-A{draw.text(CAPITALS, 10)}-{draw.text(DIGITS, 13)}-{draw.text(HEX, 64)}",
    )


def _slack_hook(draw: Draw) -> str:
    return f"T{draw.text(CAPITALS, 8, 10)}/B{draw.text(CAPITALS, 8, 10)}/{draw.text(ALNUM, 24)}"


def _openai(draw: Draw) -> str:
    mark = "T3BlbkFJ"  # stands in the middle of each
    return draw.one(
        f"sk-{draw.text(ALNUM, 20)}{mark}{draw.text(ALNUM, 20)}",
        f"sk-proj-{draw.text(WORD, 74)}{mark}{draw.text(WORD, 74)}",
    )


def _placeholder(draw: Draw) -> str:
    return draw.one(
        "YOUR_API_KEY_HERE", "your-secret-token-goes-here", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "<your-access-token>",
        "${{ secrets.GITHUB_TOKEN_V2 }}", "os.environ['API_KEY_V2']", "changeme_changeme_123", "********************",
        "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", f"AKIA{draw.text(BASE32, 9)}EXAMPLE",
        f"{draw.base64(24)[:30]}EXAMPLEKEY", f"ghp_{'x' * 36}", f"sk-{'X' * 48}", "process.env.STRIPE_SECRET_KEY_2",
        "INSERT_32_CHARACTER_KEY_1_HERE", "getSecretValue(v2TokenName1)", "{{ .Values.db2.password1 }}",
    )  # fmt: skip


SECRETS: Mapping[str, Kind] = {
    "AWS access key id": Kind(lambda draw: draw.one("AKIA", "ASIA") + draw.text(BASE32, 16), ANYWHERE),
    "AWS secret access key": Kind(
        lambda draw: draw.text(BASE64, 40),
        ("aws_secret_access_key = %s", 'AWS_SECRET_ACCESS_KEY="%s"', "secretAccessKey: '%s',", 'aws_secret = "%s"'),
    ),
    "GitHub token": Kind(
        lambda draw: draw.one("ghp_", "gho_", "ghu_", "ghs_", "ghr_") + draw.text(ALNUM, 36), ANYWHERE
    ),
    "GitHub fine-grained": Kind(lambda draw: f"github_pat_{draw.text(ALNUM, 22)}_{draw.text(ALNUM, 59)}", ANYWHERE),
    "GitLab token": Kind(lambda draw: draw.one("glpat-", "gldt-", "glrt-", "glptt-") + draw.text(WORD, 20), ANYWHERE),
    "Slack token": Kind(_slack, ANYWHERE),
    "Slack webhook": Kind(
        _slack_hook, [line % f"https://{HOOKS}%s" for line in ('url = "%s"', "HOOK=%s", "curl -X POST %s", "  url: %s")]
    ),
    "Stripe key": Kind(lambda draw: draw.one("sk_live_", "rk_live_", "sk_test_") + draw.text(ALNUM, 24, 99), ANYWHERE),
    "Google API key": Kind(lambda draw: "AIza" + draw.text(WORD, 35), ANYWHERE),
    "Google OAuth": Kind(
        lambda draw: draw.one("GOCSPX-" + draw.text(WORD, 28), "ya29." + draw.text(WORD, 150)), ANYWHERE
    ),
    "OpenAI key": Kind(_openai, ANYWHERE),
    "Anthropic key": Kind(lambda draw: f"sk-ant-api03-{draw.text(WORD, 93)}AA", ANYWHERE),
    "Hugging Face token": Kind(lambda draw: "hf_" + draw.text(string.ascii_letters, 34), ANYWHERE),
    "SendGrid key": Kind(lambda draw: f"SG.{draw.text(WORD, 22)}.{draw.text(WORD, 43)}", ANYWHERE),
    "npm token": Kind(lambda draw: "npm_" + draw.text(ALNUM, 36), ANYWHERE),
    "PyPI token": Kind(lambda draw: "pypi-AgEIcHlwaS5vcmc" + draw.text(WORD, 157), ANYWHERE),
    "JSON web token": Kind(_web_token, ANYWHERE),
    "private key": Kind(_private_key, ("%s", 'KEY = """%s"""', "key: |\n%s", '"private_key": "%s",')),
    "assigned: hexadecimal": Kind(lambda draw: draw.text(HEX, 32, 40, 64), TELLING),
    "assigned: letters, digits": Kind(lambda draw: draw.text(ALNUM, *range(20, 65)), TELLING),
    "assigned: base64": Kind(lambda draw: draw.base64(*range(24, 65)), TELLING),
    "assigned: UUID": Kind(Draw.uuid, STRONG),
}
LOOKALIKES: Mapping[str, Kind] = {
    "hash of a commit": Kind(
        lambda draw: draw.text(HEX, 40),
        ('commit = "%s"', '"sha": "%s",', "rev: %s", "uses: actions/checkout@%s", "token_revision: %s",
         "git checkout %s"),
    ),
    "checksum": Kind(
        lambda draw: draw.one(draw.text(HEX, 32, 64), draw.base64(32, 64)),
        ('sha256 "%s"', '"integrity": "sha512-%s"', "golang.org/x/text v0.3.7 h1:%s", '"checksum": "%s"',
         "--hash=sha256:%s", 'tokenizer_sha256 = "%s"', 'etag: "%s"', '"tokenizer_hash": "%s",'),
    ),
    "UUID": Kind(
        Draw.uuid,
        ('id = "%s"', '[Guid("%s")]', '"ClientRequestToken": "%s",', "xmlns:x=uuid:%s", '"ChangeToken": "%s"',
         "idempotency_token: %s"),
    ),
    "image, font": Kind(
        lambda draw: draw.base64(100, 600, 3000),
        ('<img src="data:image/png;base64,%s">', "src: url(data:font/woff2;base64,%s)", "icon = '%s'", '"png": "%s"'),
    ),
    "name": Kind(
        lambda draw: draw.words(3 + draw.below(4), draw.one("_", "-", ""), draw.below(2) == 1),
        ("token = %s", 'secretName: "%s"', "password = %s()", '"tokenType": "%s",', "secret: %s", "self.token=%s,"),
    ),
    "placeholder": Kind(_placeholder, TELLING[:144]),
    "public key": Kind(
        lambda draw: "AAAAB3NzaC1yc2E" + draw.base64(256),
        ("ssh-rsa %s user@host", 'public_key = "%s"', "PublicKeyToken=%s", '"publicKey": "%s",'),
    ),
    "token of a page": Kind(
        lambda draw: draw.base64(24, 48, 90),
        ('"nextToken": "%s",', "next_page_token: '%s'", "pageToken=%s", '"NextContinuationToken": "%s"', "sync=%s"),
    ),
    "name of a resource": Kind(
        lambda draw: f"{draw.words(3, '', True)}-{draw.text(ALNUM, 6)}",
        ('"arn:aws:secretsmanager:us-west-2:123456789012:secret:%s"', "projects/p/secrets/%s/versions/1"),
    ),
}  # fmt: skip


def plant(documents: Sequence[str], seed: int = 1, each: int = EACH) -> tuple[list[str], list[Planted]]:
    """The documents with values of every kind between their lines, and where they lie (in characters)."""
    lines: list[tuple[int, int, int, str, str, str]] = []  # document, line, order, kind, line, value
    for name, kind in (*SECRETS.items(), *LOOKALIKES.items()):
        for number in range(each):
            draw = Draw(seed, name, number)
            document = draw.below(len(documents))
            line = draw.below(documents[document].count("\n") + 1)
            lines.append((document, line, len(lines), name, draw.one(*kind.lines), kind.make(draw)))
    texts, planted = list(documents), list[Planted]()
    for document, mine in groupby(sorted(lines), key=lambda found: found[0]):
        texts[document], found = _planted(documents[document].split("\n"), list(mine))
        planted += found
    return texts, planted


def _planted(lines: list[str], mine: list[tuple[int, int, int, str, str, str]]) -> tuple[str, list[Planted]]:
    """A document with some lines more; each stands in front of a line of it."""
    parts, size, found = list[str](), 0, list[Planted]()
    waiting = list(mine)
    for number, line in enumerate(lines):
        while waiting and waiting[0][1] == number:
            document, _, _, kind, form, value = waiting.pop(0)
            start = size + form.index("%s")
            found.append(Planted(kind, document, start, start + len(value)))
            parts.append(form.replace("%s", value))
            size += len(parts[-1]) + 1
        parts.append(line)
        size += len(line) + 1
    return "\n".join(parts), found
