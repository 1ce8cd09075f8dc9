"""Personal data: what is a span and what is not, and that the bounds are exact."""

from __future__ import annotations

import gzip
import ipaddress
import json
import re
from pathlib import Path

import numpy as np
import phonenumbers
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from benchmarks.planted_secrets import LOOKALIKES, SECRETS, plant
from dolma_pipe.batch import make_batch
from dolma_pipe.tagger import load
from taggers import pii

KINDS = ("email", "phone", "ip", "credit_card", "iban", "ssn", "secret")


def found(texts: list[str]) -> list[dict[str, list[str]]]:
    """Per text and kind, the pieces of the text that the spans cover."""
    columns = load("pii").tag(make_batch(texts))
    rows: list[dict[str, list[str]]] = [{} for _ in texts]
    for kind in KINDS:
        for row, text, spans in zip(rows, texts, columns[kind].to_pylist(), strict=True):
            assert all(span["score"] == 1.0 for span in spans)
            if spans:
                row[kind] = [text[span["start"] : span["end"]] for span in spans]
    assert columns["count"].tolist() == [sum(map(len, row.values())) for row in rows]
    return rows


EMAILS = [
    ("write to ann@example.com.", ["ann@example.com"]),
    ("<ann.o-brien+news@mail.example.co.uk>,", ["ann.o-brien+news@mail.example.co.uk"]),
    ("ann@example.com", ["ann@example.com"]),
    ("a@b.co;c@d.org", ["a@b.co", "c@d.org"]),
    ("mailto:ANN@EXAMPLE.COM?subject=x", ["ANN@EXAMPLE.COM"]),
    ("well...ann@example.com...", ["ann@example.com"]),
    ("ann@example.com.Then she left", ["ann@example.com"]),
    ("news@yuma.ACNS.ColoState.EDU", ["news@yuma.ACNS.ColoState.EDU"]),
    ("ann@example.com-", ["ann@example.com"]),
    ("(ann@example.com)", ["ann@example.com"]),
    (".ann@example.com", ["ann@example.com"]),
    ("jörg@müller.de", ["jörg@müller.de"]),
    ("почта@пример.рф", ["почта@пример.рф"]),
    ("ann@xn--mller-kva.xn--p1ai", ["ann@xn--mller-kva.xn--p1ai"]),
    ("联系ann@example.com。谢谢", ["ann@example.com"]),
    ("😀ann@example.com😀", ["ann@example.com"]),
    ("\u0301ann@example.com\u0301", ["ann@example.com"]),
    ("e\u0301ann@example.com", ["e\u0301ann@example.com"]),
    ("ann@localhost", []),
    ("ann@10.0.0.1", []),
    ("ann.@example.com", []),
    ("ann@.example.com", []),
    ("ann@-example.com", []),
    ("@ann@social.example", []),
    ("@", []),
    ("ann@", []),
    ("@example.com", []),
    ("icon@2x.png background@3x.jpg", []),
    ("package@1.2.3", []),
    ("x" * 65 + "@example.com", []),
    ("x" * 64 + "@example.com", ["x" * 64 + "@example.com"]),
    ("ann@" + "y" * 64 + ".com", []),
]

PHONES = [
    ("call (212) 555-1234.", ["(212) 555-1234"]),
    ("(212)555-1234", ["(212)555-1234"]),
    ("212-555-1234,212.555.1235", ["212-555-1234", "212.555.1235"]),
    ("212 555 1234", ["212 555 1234"]),
    ("212/555-1234", ["212/555-1234"]),
    ("1-800-555-2345", ["1-800-555-2345"]),
    ("+1 (212) 555-1234", ["+1 (212) 555-1234"]),
    ("+12125551234", ["+12125551234"]),
    ("212-555-1234 x56", ["212-555-1234 x56"]),
    ("212-555-1234 ext. 5678", ["212-555-1234 ext. 5678"]),
    ("212-555-1234 extra", ["212-555-1234"]),
    ("212\u00a0555\u20111234", ["212\u00a0555\u20111234"]),
    ("Tel: +49 (0)30 123456-78", ["+49 (0)30 123456-78"]),
    ("(+49 30 12345678)", ["+49 30 12345678"]),
    ("+44 20 7946 0958 (office)", ["+44 20 7946 0958"]),
    ("+91-9876543210", ["+91-9876543210"]),
    ("+33 1 23 45 67 89", ["+33 1 23 45 67 89"]),
    ("☎️212-555-1234☎️", ["212-555-1234"]),
    ("电话212-555-1234。", ["212-555-1234"]),
    ("+65 6123 4567 1999 2001", ["+65 6123 4567"]),
    ("+39 06 1234 5678 und +41 44 123 45 67", ["+39 06 1234 5678", "+41 44 123 45 67"]),
    ("+44 (0)20 7946 0958, +44(0)20 7946 0958", ["+44 (0)20 7946 0958", "+44(0)20 7946 0958"]),
    ("0049 30 1234567 and 011-44-20-7946-0958", ["0049 30 1234567", "011-44-20-7946-0958"]),
    ("001-518-640-0854", ["001-518-640-0854"]),
    ("0077 1 23456", []),
    ("+12345678 points, +49123456 likes", []),
    ("Tel.: 030 24344 121, Fax: (030) 78 95 47 79", ["030 24344 121", "(030) 78 95 47 79"]),
    ("Telefon: 02382/590", ["02382/590"]),
    ("TEL：0512-55111066，联系电话：010 1234 5678", ["0512-55111066", "010 1234 5678"]),
    ("Tél : 06 08 77 77 13; тел. 495 123 45 67", ["06 08 77 77 13", "495 123 45 67"]),
    ("Phone:\n60-56-85-91\n", ["60-56-85-91"]),
    ("Tel.: + 49 (0) 4721/567-392", ["+ 49 (0) 4721/567-392"]),
    ("can you call me on 0490 75 40 81?", ["0490 75 40 81"]),
    ("leave a message on my registered 668 5702.", ["668 5702"]),
    ("Office: 467 3395, reach us at 9472 7916", ["467 3395", "9472 7916"]),
    ("(37) 788-063-Office\n781 1704 (fax)\n416 60 039 mobile", ["(37) 788-063", "781 1704", "416 60 039"]),
    ("\u260e 030 1234567 📞 0301234568", ["030 1234567", "0301234568"]),
    ('{"phone": "0718382399", "home": 1400000000}', ["0718382399"]),
    ("Contact Us\n\n2009-2014 and Phone.\n12345678", []),
    ("call 2014-12-05, tel 23.09.2014, fax 1999-2003, call 123.4567", []),
    ("reach 9472 7916, office 467 3395, phones 12345", []),
    ("Boston 467 3395 FAX: none", []),
    ("call 2125551234", ["2125551234"]),
    ("Phone: 2125551234", ["2125551234"]),
    ("order 2125551234", []),
    ("112-555-1234", []),
    ("212-155-1234", []),
    ("911-555-1234 411-555-1234", []),
    ("212-555-12345", []),
    ("5212-555-1234", []),
    ("1.212-555-1234-9", []),
    ("x212-555-1234", []),
    ("$212 555 1234", []),
    ("123 212 555 1234 999", []),
    ("+1 234", []),
    ("+1.2345678901", []),
    ("+1000000000 points", []),
    ("+999 1234 5678", []),
    ("a+49 30 12345678", []),
    ("++49 30 12345678", []),
    ("+49 1234 5678 9012 3456", ["+49 1234 5678 9012"]),
    ("+4912345678901234567", []),
    ("+1 212 555 1234 2024 2025 2026", ["+1 212 555 1234"]),
    ("ISBN 212-555-1234", []),
    ("ISBN 978-0-306-40615-7 and 0-306-40615-2", []),
    ("doi: 10.1038/212-555-1234", []),
    ("2024-05-06 12:30:45.123456", []),
]

ADDRESSES = [
    ("from 93.184.216.34.", ["93.184.216.34"]),
    ("8.8.8.8", ["8.8.8.8"]),
    ("http://93.184.216.34:8080/", ["93.184.216.34"]),
    ("93.184.216.34-93.184.216.40", ["93.184.216.34", "93.184.216.40"]),
    ("[93.184.216.34]", ["93.184.216.34"]),
    ("👍93.184.216.34👍", ["93.184.216.34"]),
    ("host:93.184.216.34", ["93.184.216.34"]),
    ("2001:4860:4860::8888, ", ["2001:4860:4860::8888"]),
    ("[2606:4700:4700::1111]:443", ["2606:4700:4700::1111"]),
    ("addr:2a00:1450:4001:81b:0:0:0:200e.", ["2a00:1450:4001:81b:0:0:0:200e"]),
    ("2001:4860:4860::8888: reply", ["2001:4860:4860::8888"]),
    ("192.168.1.1 10.0.0.1 172.16.5.4 127.0.0.1 169.254.1.1 0.0.0.0 255.255.255.255", []),
    ("203.0.113.7 224.0.0.251 2001:db8::1 fe80::1 ::1 fc00::1", []),
    ("256.1.1.1 1.2.3 1.2.3.400 01.02.03.04", []),
    ("1.2.3.4.5", []),
    ("93.184.216.34.5 5.93.184.216.34", []),
    ("1234.1.1.1 1.1.1.1234", []),
    ("v8.8.4.4 version 8.8.4.4 Version: 8.8.4.4 Chrome/88.8.44.4 lib-8.8.4.4 8.8.4.4-rc1 8.8.4.4b", []),
    ("2.3.1.4 Structural work\n  6.2.1.2. “The Contractor”, see Article 6.2.1.1 or clauses 6.2.1.1", []),
    ("6e40:4041:c617:e898:c11:40d2:c669:2eb4", ["6e40:4041:c617:e898:c11:40d2:c669:2eb4"]),
    ("12.34.56.78 Connection, 66.24.55.12\n", ["12.34.56.78", "66.24.55.12"]),
    ("enzyme (EC 4.6.1.1), subjectAltName 2.5.29.17, kernel 2.6.18.6", []),
    ("Clauses 7.1.1.1 through 7.1.1.3 and Articles 6.2.1.1, 6.2.1.2 and 6.2.1.3", []),
    ("\n2.1.16.11\tPermit filing", []),
    ("std::vector a::b abc::def 12:30:45 00:1a:2b:3c:4d:5e 00:1a:2b:3c:4d:5e:6f:70 1:2:3:4:5:6:7:8", []),
    ("1:2:3:4:5:6:7:8:9 2001:4860:4860::8888::1 2006::", []),
]

CARDS = [
    ("4111111111111111, 4111 1111 1111 1111; 4111-1111-1111-1111",
     ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111"]),
    ("5555555555554444 2223003122003222", ["5555555555554444", "2223003122003222"]),
    ("amex 3782 822463 10005 378282246310005", ["3782 822463 10005", "378282246310005"]),
    ("3056 930902 5904 30569309025904", ["3056 930902 5904", "30569309025904"]),
    ("6011111111111117 3530111333300000 6200000000000005 2200000000000004",
     ["6011111111111117", "3530111333300000", "6200000000000005", "2200000000000004"]),
    ("4111 1111 1111 1111 110", ["4111 1111 1111 1111 110"]),
    ("my card 4222222222222, card number is 630400000000, cc 4111111111111111110",
     ["4222222222222", "630400000000", "4111111111111111110"]),
    ("credit card? 1234567890123452", ["1234567890123452"]),
    ("4111111111111112 4111 1111-1111 1111 41111111 11111111 4111111111111111a", []),
    ("4222222222222 630400000000 1234567890123452", []),
    ("0.4111111111111111 14111111111111111 x4111111111111111 4111111111111111%", []),
]  # fmt: skip

IBANS = [
    ("IBAN: DE89 3704 0044 0532 0130 00.", ["DE89 3704 0044 0532 0130 00"]),
    ("DE89370400440532013000 gb82west12345698765432", ["DE89370400440532013000", "gb82west12345698765432"]),
    ("NO9386011117947, MT84MALT011000012345MTLCAST001S", ["NO9386011117947", "MT84MALT011000012345MTLCAST001S"]),
    ("BE71 0961 2345 6769 FR14 2004 1010 0505 0001 3M02 606",
     ["BE71 0961 2345 6769", "FR14 2004 1010 0505 0001 3M02 606"]),
    ("DE88370400440532013000 DE8937040044053201300 DE893704004405320130000 XX89370400440532013000", []),
    ("aDE89370400440532013000 DE89370400440532013000b DE89-3704-0044-0532-0130-00", []),
]  # fmt: skip

SSNS = [
    ("123-45-6789, 899-99-9999", ["123-45-6789", "899-99-9999"]),
    ("SSN 123 45 6789, social security number is 123456789", ["123 45 6789", "123456789"]),
    ("000-45-6789 666-45-6789 900-45-6789 123-00-6789 123-45-0000", []),
    ("123 45 6789, 123456789, 123-45 6789, 123-456-789, 1123-45-6789, 123-45-67890, x123-45-6789", []),
]

ABC = "aB3dE5gH1jK2mN4pQ7sT"
"""Characters as random as a key's; the keys below are joined here, for scanners take whole ones for real."""
KEYS = [
    "gh" + "p_" + ABC * 2, "github" + "_pat_" + ABC * 4, "AK" + "IA" + "Q7X2M4Z6K3W5R2T4",
    "AI" + "za" + "SyA1-b2_C3" * 3 + "d4E5f", "sk" + "-" + ABC * 2, "sk" + "-proj-" + ABC, "sk" + "_live_" + ABC,
    "xox" + "b-123456789012-123456789012-" + ABC, "gl" + "pat-" + ABC, "gl" + "rt-" + ABC, "np" + "m_" + ABC[:18] * 2,
    "h" + "f_" + ABC + ABC[:14], "S" + "G." + ABC + "xy." + ABC * 2 + "abc", "ya29" + "." + ABC * 3,
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + ABC,
    "-----BEGIN RSA PRIVATE " + "KEY-----\n" + (ABC * 3 + "\n") * 4 + "-----END RSA PRIVATE " + "KEY-----",
    "-----BEGIN PGP PRIVATE " + "KEY BLOCK-----\nVersion: 2\n\n" + (ABC * 3 + "\n") * 4
    + "-----END PGP PRIVATE " + "KEY BLOCK-----",
    "-----BEGIN " + "PRIVATE KEY-----\\n" + ABC * 3,
]  # fmt: skip
ASSIGNED = [
    'api_key = "%s"', "SECRET_KEY='%s'", "token: %s\n", '"accessToken": "%s",', "password=%s;",
    "'client-secret' => '%s'", "Authorization: Bearer %s", "https://x.org/?auth_token=%s&a=b", "private_key := `%s`",
    'x = {"pwd":\\"%s\\"}', "run --api-key %s --fast", 'client.setToken("%s")', 'os.getenv("API_KEY","%s")',
    "<clientSecret>%s</clientSecret>", '<add key="ApiKey" value="%s" />', "- name: DB_PASSWORD\n  value: %s\n",
]  # fmt: skip
NO_SECRETS = [
    "gh" + "p_" + "x" * 36, "AK" + "IA" + "X" * 16, "AK" + "IA" + "Q7X2M4Z6K3W5R2T",
    "sk" + "-toggleable__content-of-a-style-2",
    f"commit = {ABC}", f'key = "{ABC}"', f'public_token = "{ABC}"', f"token == get_{ABC}(",
    'token = "aaaaaaaaaaaaaaaaaaaa"',
    'password = "correct_horse_battery_staple_1"', "secret = 12345678901234567890", f'token = "{ABC}',
    "token = " + "aB3" * 100,
    "-----BEGIN PRIVATE " + "KEY-----\n...\n-----END PRIVATE " + "KEY-----",
    "-----BEGIN PUBLIC " + "KEY-----\n" + ABC * 3,
    "AK" + "IA" + "IOSFODNN7EXAMPLE", f'secret_key = "{ABC}EXAMPLEKEY"',
    f'"nextToken": "{ABC}"', f'tokenizer_hash = "{ABC}"', f"token_revision: {ABC}", f'secretName: "{ABC}"',
    'ClientRequestToken = "0f8fad5b-d9cb-469f-a165-70867728950e"', "secret: prod-db-v2-us-east-1-replica-3a",
    "token = Qwen2OmniToken2WavConfig", "Credential=mock_key/20220524/us-east-1/aws4_request",
    f'"arn:aws:secretsmanager:us-west-2:123456789012:secret:{ABC}"', f'["token", "{ABC}"]', f"sign(token, '{ABC}')",
    f"https://hooks.slack.com/services/{'x' * 30}", f"https://x.slack.com/services/{ABC}/{ABC}",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), EMAILS)
def test_email_addresses_are_found_whole_and_nothing_else_is(text: str, expected: list[str]) -> None:
    assert found([text])[0].get("email", []) == expected


@pytest.mark.parametrize(("text", "expected"), PHONES)
def test_telephone_numbers_are_found_whole_and_nothing_else_is(text: str, expected: list[str]) -> None:
    assert found([text])[0] == ({"phone": expected} if expected else {})


@pytest.mark.parametrize(("text", "expected"), ADDRESSES)
def test_public_ip_addresses_are_found_whole_and_nothing_else_is(text: str, expected: list[str]) -> None:
    assert found([text])[0] == ({"ip": expected} if expected else {})


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [(kind, *case) for kind, cases in (("credit_card", CARDS), ("iban", IBANS), ("ssn", SSNS)) for case in cases],
)
def test_numbers_with_check_digits_and_ranges_are_found_whole_and_nothing_else_is(
    kind: str, text: str, expected: list[str]
) -> None:
    row = found([text])[0]
    assert row.get(kind, []) == expected
    assert set(row) <= {kind}


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_known_forms_are_found_wherever_they_stand(key: str) -> None:
    texts = [key, f"use {key}.", f"x='{key}'", f"<{key}>", f"é{key}é"]
    assert found(texts) == [{"secret": [key]}] * len(texts)


@pytest.mark.parametrize("form", ASSIGNED)
@pytest.mark.parametrize("value", [ABC, "0123456789abcdef" * 2, ABC + "/" + ABC + "+=="])
def test_random_characters_that_a_telling_name_holds_are_a_secret(form: str, value: str) -> None:
    assert found([form % value]) == [{"secret": [value]}]


def test_secrets_planted_in_code_are_found_and_what_is_like_them_is_not() -> None:
    code = ["def f(token):\n    return token\n" * 40, "int main() {\n}\n" * 60]
    texts, planted = plant(code, seed=5, each=5)
    spans = load("pii").tag(make_batch(texts))["secret"].to_pylist()
    ours = [{(span["start"], span["end"]) for span in of} for of in spans]
    held = {kind: 0 for kind in (*SECRETS, *LOOKALIKES)}
    for one in planted:
        held[one.kind] += (one.start, one.end) in ours[one.document]
    assert sum(held[kind] for kind in SECRETS) >= 0.97 * 5 * len(SECRETS)
    assert sum(held[kind] for kind in LOOKALIKES) <= 0.03 * 5 * len(LOOKALIKES)
    assert sum(map(len, ours)) == sum(held.values())


def test_a_uuid_is_a_secret_where_the_name_says_more_than_token() -> None:
    uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    texts = [f'client_secret = "{uuid}"', f"API_KEY={uuid}", f'token = "{uuid}"']
    assert found(texts) == [{"secret": [uuid]}, {"secret": [uuid]}, {}]


def test_the_path_of_a_webhook_is_a_secret() -> None:
    path = "T7XQ2M4Z6/B3W5R2T4K6X/" + ABC
    assert found([f"curl https://hooks.slack.com/services/{path}"]) == [{"secret": [path]}]


@pytest.mark.parametrize("text", NO_SECRETS)
def test_placeholders_words_and_names_that_tell_nothing_are_no_secret(text: str) -> None:
    assert found([text]) == [{}]


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast


NETWORKS = [
    "0.0.0.0/0", "10.0.0.0/7", "100.0.0.0/9", "126.0.0.0/7", "169.254.0.0/15", "172.0.0.0/11", "192.0.0.0/23",
    "192.88.99.0/24", "192.168.0.0/15", "198.16.0.0/14", "198.51.100.0/23", "203.0.112.0/23", "224.0.0.0/3",
]  # fmt: skip


@given(st.sampled_from(NETWORKS).map(ipaddress.ip_network).flatmap(lambda network: st.ip_addresses(network=network)))
def test_an_ipv4_address_is_found_if_the_library_calls_it_public(address: ipaddress.IPv4Address) -> None:
    assume(not re.match(r"2\.5\.(4|29)\.", str(address)))
    assert found([f"from {address}, now"]) == [{"ip": [str(address)]} if is_public(address) else {}]


SIXES = [
    "::/0", "2000::/3", "2001::/22", "2001:db8::/31", "2002::/15", "64:ff9b::/95", "fc00::/6", "fe80::/9", "fe00::/7",
    "100::/63",
]  # fmt: skip


@given(st.sampled_from(SIXES).map(ipaddress.ip_network).flatmap(lambda network: st.ip_addresses(network=network)))
@example(ipaddress.ip_address("2606:4700:4700::1111"))
def test_an_ipv6_address_in_full_is_found_if_the_library_calls_it_public(address: ipaddress.IPv6Address) -> None:
    text = address.exploded
    assert found([f"from {text}, now"]) == [{"ip": [text]} if is_public(address) else {}]
    if address in ipaddress.ip_network("2000::/3") and str(address).count(":") > 2:
        assert found([f"from {address}, now"]) == [{"ip": [str(address)]} if is_public(address) else {}]


REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
FORMATS = (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164)
TYPES = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)


def test_an_international_number_of_every_country_is_found() -> None:
    numbers = [phonenumbers.example_number_for_type(region, kind) for region in REGIONS for kind in TYPES]
    texts = [phonenumbers.format_number(number, form) for number in numbers if number for form in FORMATS]
    texts = [text for text in texts if sum(map(str.isdigit, text)) >= 8]
    assert len(texts) > 900
    assert found([f"write, {text}, now" for text in texts]) == [{"phone": [text]} for text in texts]


def test_a_number_too_long_for_its_country_is_none_unless_a_word_calls_it_one() -> None:
    assert found(["(+65 612345678901)"]) == [{}]
    assert found(["Phone: +65 612345678901"]) == [{"phone": ["+65 612345678901"]}]


def test_empty_documents_have_no_spans_and_count_zero() -> None:
    columns = load("pii").tag(make_batch(["", " \n", ""]))
    assert [columns[kind].to_pylist() for kind in KINDS] == [[[], [], []]] * len(KINDS)
    assert columns["count"].tolist() == [0, 0, 0]


def test_a_batch_without_documents_gives_empty_columns() -> None:
    columns = load("pii").tag(make_batch([]))
    assert [len(columns[name]) for name in (*KINDS, "count")] == [0] * 8


def test_documents_do_not_reach_into_one_another() -> None:
    assert found(["ann", "@example.com", "93.184", ".216.34", "212-555-", "1234"]) == [{}] * 6
    assert found(["ann@example.com", "93.184.216.34"]) == [{"email": ["ann@example.com"]}, {"ip": ["93.184.216.34"]}]


def test_count_is_the_number_of_spans_of_all_kinds() -> None:
    text = "ann@example.com, bob@example.org, 212-555-1234, 93.184.216.34, 123-45-6789, 4111111111111111"
    assert load("pii").tag(make_batch([text, ""]))["count"].tolist() == [6, 0]


PIECES = ["@", "1", ".", "1.", "a@", "+", "(", ":", "a.a@", "212-", "+4", "1 ", "f:", "x@-", "a", "é@", "()", "-", "="]


@pytest.mark.parametrize("piece", PIECES)
def test_long_runs_of_signs_and_digits_hold_nothing(piece: str) -> None:
    assert found([piece * (1_000_000 // len(piece))]) == [{}]


@pytest.mark.parametrize("piece", ["@", "1", ".", "1.1.1.1.1.", "a@a@a@", ":", "+"])
def test_ten_megabytes_of_signs_and_digits_leave_nothing_to_judge(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: object) -> None:
        raise AssertionError("no library has to be asked about a run of signs")

    monkeypatch.setattr(pii, "is_address", judge)
    monkeypatch.setattr(pii, "number_length", judge)
    assert found([piece * (10_000_000 // len(piece))]) == [{}]


def test_the_library_judges_each_number_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(pii, "is_dialled", lambda text, strict: asked.append(text) or True)
    pii.number_length.cache_clear()
    numbers = [f"+65 6{number:07}" for number in range(1000)]
    for text in (" ".join(numbers), " ".join(numbers * 4), " ".join(numbers) + "+65 " * 10_000):
        assert len(found([text])[0]["phone"]) >= 1000
    assert len(asked) == 1000
    pii.number_length.cache_clear()


VALUES = {
    "email": ["ann@example.com", "jörg.b+x@müller.example.de"],
    "phone": ["(212) 555-1234", "+49 30 1234567"],
    "ip": ["93.184.216.34", "2a00:1450:4001:81b::200e"],
    "credit_card": ["4111 1111 1111 1111"],
    "iban": ["DE89370400440532013000"],
    "ssn": ["123-45-6789"],
    "secret": [KEYS[0], KEYS[-3]],
}
PROSE = st.text(st.characters(exclude_characters="0123456789@+", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(PROSE, st.sampled_from([(kind, value) for kind in KINDS for value in VALUES[kind]])), max_size=5)
)
def test_offsets_are_code_points_whatever_stands_between(parts: list[tuple[str, tuple[str, str]]]) -> None:
    # The commas keep what stands before a value from speaking of it ("version ").
    text = "".join(f"{prose},,,,,, {value} ,," for prose, (_, value) in parts)
    expected = {kind: [value for _, (of, value) in parts if of == kind] for kind in KINDS}
    assert found([text]) == [{kind: values for kind, values in expected.items() if values}]


LABELS = {
    "email": ("EMAIL_ADDRESS", 1.0), "phone": ("PHONE_NUMBER", 0.98), "ip": ("IP_ADDRESS", 1.0),
    "credit_card": ("CREDIT_CARD", 1.0), "iban": ("IBAN_CODE", 1.0), "ssn": ("US_SSN", 1.0),
}  # fmt: skip


@pytest.mark.corpus
def test_labelled_text_is_found_with_the_precision_and_recall_that_the_docs_state(corpus: Path) -> None:
    lines = gzip.decompress((corpus / "pii" / "presidio_synth_v2.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    columns = load("pii").tag(make_batch([row["text"] for row in rows]))
    for kind, (label, recall) in LABELS.items():
        labelled = [{(s["start"], s["end"]) for s in row["spans"] if s["type"] == label} for row in rows]
        ours = [{(span["start"], span["end"]) for span in spans} for spans in columns[kind].to_pylist()]
        right = sum(len(a & b) for a, b in zip(labelled, ours, strict=True))
        assert right == sum(map(len, ours))
        assert right / sum(map(len, labelled)) >= recall


def test_positions_are_the_same_for_any_split_into_batches() -> None:
    texts = [text for text, _ in (*EMAILS, *PHONES, *ADDRESSES, *CARDS, *IBANS, *SSNS)] + KEYS
    whole = found(texts)
    assert [row for start in np.arange(0, len(texts), 7) for row in found(texts[start : start + 7])] == whole
