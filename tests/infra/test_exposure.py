"""Metrics go to whom the settings say, encrypted where they say; a wrong setting is named."""

import base64
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from infra.exposure import Credentials, Exposure, ExposureError, exposure
from infra.settings import StageSettings
from infra.telemetry import Meters, StatusServer

OPEN = "0.0.0.0"  # noqa: S104  # what is refused, mostly


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return an authority that only these tests trust."""
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of a certificate and its key, and of much that is neither."""
    directory = tmp_path_factory.mktemp("tls")
    ours, others = (authority.issue_cert("127.0.0.1") for _ in range(2))
    rsa = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
    key = load_pem_private_key(ours.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    for name, content in {
        "certificate": b"".join(part.bytes() for part in ours.cert_chain_pems),
        "key": ours.private_key_pem.bytes(),
        "other-key": others.private_key_pem.bytes(),
        "rsa-key": rsa.private_key_pem.bytes(),
        "encrypted-key": encrypted,
        "torn-certificate": ours.cert_chain_pems[0].bytes()[:200],
        "torn-key": ours.private_key_pem.bytes()[:80],
        "empty": b"",
        "blank": b" \n",
        "binary": b"\xff\xfe",
        "password": b"from a file\n",
        "token": b"filed\n",
        "two-lines": b"one\ntwo\n",
    }.items():
        (directory / name).write_bytes(content)
    return directory


WRONG = {
    "open to anyone": (
        {"host": OPEN},
        (
            r"METRICS_HOST: 0\.0\.0\.0 is open to other machines: set METRICS_TOKEN, or "
            r"METRICS_USER and METRICS_PASSWORD, or listen on 127\.0\.0\.1"
        ),
    ),
    "open by IPv6": ({"host": "::"}, "METRICS_HOST: :: is open to .*"),
    "open by name": ({"host": "metrics.example"}, r"METRICS_HOST: metrics\.example is open .*"),
    "open to anyone, encrypted": (
        {"host": OPEN, "tls_certificate_file": "certificate", "tls_key_file": "key"},
        "METRICS_HOST: .*",
    ),
    "no password": ({"user": "u"}, "METRICS_USER: of no use without METRICS_PASSWORD or .*_FILE"),
    "no user": ({"password": "hush"}, "METRICS_PASSWORD: of no use without METRICS_USER"),
    "no user to a file": (
        {"password_file": "password"},
        "METRICS_PASSWORD_FILE: of no use without METRICS_USER",
    ),
    "a colon": ({"user": "a:b", "password": "hush"}, "METRICS_USER: 'a:b' cannot be a user: .*"),
    "a blank password": ({"user": "u", "password": " "}, "METRICS_PASSWORD: expected a password.*"),
    "a blank file": (
        {"user": "u", "password_file": "blank"},
        "METRICS_PASSWORD_FILE: expected a password.*",
    ),
    "two lines": (
        {"user": "u", "password_file": "two-lines"},
        "METRICS_PASSWORD_FILE: expected a password, on one line .*",
    ),
    "not text": (
        {"user": "u", "password_file": "binary"},
        "METRICS_PASSWORD_FILE: .*/binary is not text",
    ),
    "no file": (
        {"user": "u", "password_file": "absent"},
        "METRICS_PASSWORD_FILE: .*/absent cannot be read: No such file or directory",
    ),
    "a token of two words": ({"token": "hush hush"}, "METRICS_TOKEN: expected ASCII letters.*"),
    "a token that no header holds": ({"token": "hüsh"}, "METRICS_TOKEN: expected ASCII letters.*"),
    "an empty token": ({"token_file": "empty"}, "METRICS_TOKEN_FILE: expected ASCII letters.*"),
    "a directory": ({"token_file": "."}, "METRICS_TOKEN_FILE: .* cannot be read: Is a directory"),
    "no key": (
        {"tls_certificate_file": "certificate"},
        "METRICS_TLS_CERTIFICATE_FILE: of no use without METRICS_TLS_KEY_FILE",
    ),
    "no certificate": (
        {"tls_key_file": "key"},
        "METRICS_TLS_KEY_FILE: of no use without METRICS_TLS_CERTIFICATE_FILE",
    ),
}
#: (certificate, key, sentence)
WRONG_FILES = (
    ("absent", "key", "METRICS_TLS_CERTIFICATE_FILE: .*/absent cannot be read: No such file .*"),
    ("certificate", "absent", "METRICS_TLS_KEY_FILE: .*/absent cannot be read: No such file .*"),
    (".", "key", "METRICS_TLS_CERTIFICATE_FILE: .* cannot be read: Is a directory"),
    ("empty", "key", "METRICS_TLS_CERTIFICATE_FILE: .*/empty holds no certificate in PEM"),
    ("torn-certificate", "key", "METRICS_TLS_CERTIFICATE_FILE: .* holds no certificate in PEM"),
    ("key", "certificate", "METRICS_TLS_CERTIFICATE_FILE: .*/key holds no certificate in PEM"),
    ("certificate", "empty", "METRICS_TLS_KEY_FILE: .*/empty holds no private key in PEM"),
    ("certificate", "torn-key", "METRICS_TLS_KEY_FILE: .* holds no private key in PEM"),
    (
        "certificate",
        "other-key",
        "METRICS_TLS_KEY_FILE: .*/other-key is not the key of the certificate in .*/certificate",
    ),
    ("certificate", "rsa-key", "METRICS_TLS_KEY_FILE: .* is not the key of the certificate in .*"),
    (
        "certificate",
        "encrypted-key",
        "METRICS_TLS_KEY_FILE: .* is encrypted: expected a key without a passphrase",
    ),
)


def _settings(files: Path, **of_metrics: str) -> StageSettings:
    """Return settings by their names without `metrics_`; files are named by the fixture's."""
    values: dict[str, Any] = {
        f"metrics_{name}": files / value if name.endswith("_file") else value
        for name, value in of_metrics.items()
    }
    return StageSettings(**values)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named(files: Path, name: str) -> None:
    """One sentence says which variable is wrong and how, and repeats no secret."""
    given_, sentence = WRONG[name]
    with pytest.raises(ExposureError) as refused:
        exposure(_settings(files, **given_))
    assert re.fullmatch(sentence, str(refused.value))
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(("certificate", "key", "sentence"), WRONG_FILES)
def test_files_that_do_not_fit_are_named(
    files: Path, certificate: str, key: str, sentence: str
) -> None:
    """Whichever of the two is at fault is the one that the sentence names."""
    with pytest.raises(ExposureError) as refused:
        exposure(_settings(files, tls_certificate_file=certificate, tls_key_file=key))
    assert re.fullmatch(sentence, str(refused.value))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_is_not_asked(files: Path, host: str) -> None:
    """On loopback there need not be a secret."""
    assert exposure(_settings(files, host=host)) == Exposure(host=host)


@pytest.mark.parametrize(
    "secret",
    [
        {"token": "t"},
        {"token_file": "token"},
        {"user": "u", "password": "p"},
        {"user": "u", "password_file": "password"},
    ],
)
def test_a_secret_opens_it(files: Path, secret: dict[str, str]) -> None:
    """With a token or a user, by variable or by file, other machines may ask."""
    found = exposure(_settings(files, host=OPEN, **secret))
    assert found.host == OPEN
    assert found.credentials
    assert not found.credentials.admit("")


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ({"token_file": "token"}, "Bearer filed"),
        ({"token": "t", "token_file": "token"}, "Bearer t"),
        ({"user": "u", "password_file": "password"}, _basic("u", "from a file")),
        ({"user": "u", "password": "p", "password_file": "password"}, _basic("u", "p")),
        ({"user": "ü", "password": "p:ß"}, _basic("ü", "p:ß")),
        ({"user": "u", "password": "p", "token": "t"}, "Bearer t"),
        ({"user": "u", "password": "p", "token": "t"}, _basic("u", "p")),
        ({"token": "t"}, "bearer t"),
    ],
)
def test_what_is_set_is_let_in(files: Path, given_: dict[str, str], shown: str) -> None:
    """A variable counts for more than its file; a token and a user are let in side by side."""
    assert exposure(_settings(files, **given_)).credentials.admit(shown)


BOTH = Credentials(token=SecretStr("a-token"), basic=SecretStr("user:pass"))


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "a-token",
        "Bearer",
        "Bearer ",
        "Bearer a-toke",
        "Bearer a-token2",
        "Bearer A-TOKEN",
        "Basic a-token",
        "Bearer dXNlcjpwYXNz",
        "Basic user:pass",
        "Basic ",
        _basic("user", ""),
        _basic("", "pass"),
        _basic("user", "Pass"),
        "Bearer \udcff",
    ],
)
def test_nothing_else_is_let_in(shown: str) -> None:
    """What is half right is wrong, bytes that are no text among it."""
    assert not BOTH.admit(shown)


@given(st.text(st.characters(exclude_categories=())))
def test_no_header_breaks_it(shown: str) -> None:
    """Whatever text is shown, surrogates in it, the answer is no."""
    assert not BOTH.admit(shown)
    assert not BOTH.admit(f"Bearer {shown}")
    assert not BOTH.admit(f"Basic {shown}")


def test_secrets_are_not_shown(files: Path) -> None:
    """Neither the settings nor what is made of them print a secret."""
    settings = _settings(files, token="hush-t", user="u", password="hush-p")
    assert "hush" not in repr(settings) + repr(exposure(settings))


@asynccontextmanager
async def _served(where: Exposure) -> AsyncIterator[str]:
    server = StatusServer(Meters("router"), exposure=where, ready=lambda: None)
    port = await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop()


async def test_metrics_are_read_over_https_with_the_right_credentials(
    files: Path, authority: trustme.CA
) -> None:
    """Whether a process is ready is no secret; what it counts may be one, and is told who may."""
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    settings = _settings(
        files,
        host=OPEN,
        token="t",
        user="u",
        password_file="password",
        tls_certificate_file="certificate",
        tls_key_file="key",
    )
    right = ("Bearer t", _basic("u", "from a file"))
    wrong = ("", "Bearer no", "t", _basic("u", "wrong"), _basic("v", "from a file"))
    async with _served(exposure(settings)) as address, aiohttp.ClientSession() as http:
        for shown, status in (*[(r, 200) for r in right], *[(w, 401) for w in wrong]):
            async with http.get(
                f"https://{address}/metrics", headers={"Authorization": shown}, ssl=trust
            ) as response:
                assert response.status == status, shown
                text = await response.text()
                assert ("datasource_router_failover_total" in text) is (status == 200)
                challenges = response.headers.getall("WWW-Authenticate", [])
                schemes = ["Bearer", "Basic"] if status == 401 else []
                assert [challenge.split()[0] for challenge in challenges] == schemes
        async with http.get(f"https://{address}/ready", ssl=trust) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(f"https://{address}/ready")
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http://{address}/metrics", headers={"Authorization": right[0]})


async def test_a_header_that_is_no_text_is_refused() -> None:
    """Bytes beyond ASCII are wrong credentials, not a fault of ours."""
    where = Exposure(credentials=BOTH)
    async with _served(where) as address, aiohttp.ClientSession() as http:
        shown = {"Authorization": "Bearer ÿ"}
        async with http.get(f"http://{address}/metrics", headers=shown) as response:
            assert response.status == 401
