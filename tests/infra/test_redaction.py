"""Secrets are not said: known ones in any spelling, unknown ones where they are to be expected."""

import base64
import html
import json
import re
import string
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.redaction import LEAST, REDACTED, Secrets, is_sensitive

#: How a text may be written into another: all of it, so that nothing of it may be left.
SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    quote,
    lambda text: quote(text, safe=""),
    lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    lambda text: quote(quote(text, safe=""), safe=""),
    quote_plus,
    json.dumps,
    lambda text: json.dumps(text, ensure_ascii=False),
    lambda text: json.dumps(json.dumps(text)),
    lambda text: json.dumps(text).replace("/", "\\/"),
    repr,
    lambda text: repr(text.encode()),
    html.escape,
    lambda text: text.encode().hex(),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    lambda text: quote(base64.b64encode(f"user:{text}".encode()).decode(), safe=""),
    *(
        lambda text, n=n: base64.b64encode(f"{'u' * n}{text}{'v' * n}".encode()).decode()
        for n in (1, 2, 3)
    ),
)
LETTERS = string.ascii_letters + string.digits


def told(secret: str, said: str) -> bool:
    """Tell whether a text has a secret in it, by undoing every spelling."""
    core = base64.b64encode(b"u" + secret.encode()).decode()[2:-4]
    return any(
        spelt in said
        for spelt in (
            secret,
            quote(secret, safe=""),
            json.dumps(secret)[1:-1],
            json.dumps(json.dumps(secret))[3:-3],
            secret.encode().hex(),
            core,
        )
    )


@settings(max_examples=15)
@given(
    secret=st.text(
        st.one_of(
            st.sampled_from(LETTERS),
            st.sampled_from("+/=&%\"'\\ \n<>:@?#~.-_"),
            st.characters(exclude_categories=["Cs"]),
        ),
        min_size=LEAST,
        max_size=24,
    ).filter(lambda text: text == text.strip() and "://" not in text)
)
def test_a_known_secret_is_in_no_spelling(secret: str) -> None:
    """Whole, in a URL, in JSON (twice), a literal, HTML, hex, or base64 at any place."""
    secrets = Secrets()
    secrets.add(secret)
    for spell in SPELLINGS:
        said = secrets.redact(f"before <{spell(secret)}> after")
        assert REDACTED in said, spell(secret)
        assert said.startswith("before <")
        assert said.endswith("> after")
        assert not told(secret, said), spell(secret)


def test_of_an_address_the_password_is_the_secret() -> None:
    """Where a server is may be said; with what one gets in, and what is signed, may not."""
    secrets = Secrets()
    secrets.add("https://user:pass%2Fword@ch.example:8443/?X-Amz-Signature=0123abcdef&x=visible")
    said = secrets.redact("ch.example:8443 pass%2Fword pass/word 0123abcdef visible")
    assert said == f"ch.example:8443 {REDACTED} {REDACTED} {REDACTED} visible"


def test_a_list_of_secrets_is_each_of_them() -> None:
    """What signs notices may be several, separated by commas."""
    secrets = Secrets()
    secrets.add("older-secret, newer-secret")
    assert secrets.redact("newer-secret or older-secret") == f"{REDACTED} or {REDACTED}"


def test_what_is_short_is_no_secret() -> None:
    """An empty or tiny password would tear all other words apart."""
    secrets = Secrets()
    for value in ("", " ", "a", "feed"):
        secrets.add(value)
    assert secrets.redact("twinfeed says a") == "twinfeed says a"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("ws://hub/h?access_token=abc.def-1&v=2", f"ws://hub/h?access_token={REDACTED}&v=2"),
        (
            "https://s3/a?X-Amz-Credential=AK%2Fus&X-Amz-Signature=0f0f&v=2",
            f"https://s3/a?X-Amz-Credential={REDACTED}&X-Amz-Signature={REDACTED}&v=2",
        ),
        (
            "next=%2Fh%3Faccess_token%3Dabc%26v%3D2",
            f"next=%2Fh%3Faccess_token%3D{REDACTED}%26v%3D2",
        ),
        ("https://a/?sig=ab%2Bc&se=1", f"https://a/?sig={REDACTED}&se=1"),
        ("http://u:p@ss@host:1/x", f"http://{REDACTED}@host:1/x"),
        ("redis://:hunter@host", f"redis://{REDACTED}@host"),
        ("Authorization: Bearer abcdefgh", f"Authorization: Bearer {REDACTED}"),
        ("sent Basic dXNlcjpwYXNz to it", f"sent Basic {REDACTED} to it"),
        (
            "{'APCA-API-SECRET-KEY': 'a b', 'x': 1}",
            f"{{'APCA-API-SECRET-KEY': \"{REDACTED}\", 'x': 1}}",
        ),
        ('{"password": "a\\"b", "x": 1}', f'{{"password": "{REDACTED}", "x": 1}}'),
        ("CLICKHOUSE_HTTP_PASSWORD=hunter2", f"CLICKHOUSE_HTTP_PASSWORD={REDACTED}"),
        ("ssl.key.password = null", f"ssl.key.password = {REDACTED}"),
        ("eyJhbGciOi.eyJzdWIi.c2ln", REDACTED),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", REDACTED),
        ("key PKABCDEFGH0123456789 refused", f"key {REDACTED} refused"),
        (
            "https://hooks.slack.com/services/T0/B0/xyz",
            f"https://hooks.slack.com/services/{REDACTED}",
        ),
        # what is none
        ("METRICS_TOKEN: expected ASCII letters", "METRICS_TOKEN: expected ASCII letters"),
        ("http://127.0.0.1:18123/?query=SELECT", "http://127.0.0.1:18123/?query=SELECT"),
        ("ticks.raw.alpaca/0/17 at user@example.com", "ticks.raw.alpaca/0/17 at user@example.com"),
    ],
)
def test_a_secret_is_known_by_where_it_stands(said: str, shown: str) -> None:
    """One that nobody named is known by the name before it, or by its shape."""
    secrets = Secrets()
    assert secrets.redact(said) == shown
    assert secrets.redact(shown) == shown


@pytest.mark.parametrize(
    ("name", "sensitive"),
    [
        *((name, True) for name in ("password", "APCA-API-SECRET-KEY", "api_key", "access_token")),
        *((name, True) for name in ("Authorization", "X-Amz-Signature", "tokens", "key_ids")),
        *((name, False) for name in ("symbol", "key", "passed", "tokens_left", "secretary")),
    ],
)
def test_a_field_is_known_by_its_name(name: str, *, sensitive: bool) -> None:
    """The whole value goes where the name says what it is."""
    assert is_sensitive(name) is sensitive


@pytest.mark.timeout(60)  # milliseconds; hours, if each place of a text were an end to search for
@pytest.mark.parametrize(
    "piece",
    [
        *("x", " ", "\\", "%25", "://", "a:", "http://a", "\\u0041", "token", "token ", "token: "),
        *('token="', "token='", 'token=\\"', "token%25", "eyJhbGci", "eyJhbGci.", "-eyJhbGci"),
        *("-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "PK0", "Bearer ", "basic    ", "?sig="),
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    """What is logged may be a vendor's or a client's words, and holds nothing up."""
    secrets = Secrets()
    for secret in (
        "one-of-them",
        "\\\\\\\\\\\\",
        '\\"\\"\\"\\"\\"\\"!',
        "xxxxxxxxxxxxxy",
        "% % % % % %",
    ):
        secrets.add(secret)
    secrets.redact(piece * (100_000 // len(piece)))
