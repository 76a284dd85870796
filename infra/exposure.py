"""Who may read a process's metrics, and by which transport: decided before it listens.

On loopback nobody is asked for anything, unless a token or a user is set. Beyond it one of them has
to be, because metrics tell what is traded and how fast. A token and a user may both be set: then
either is let in, so that scrapers can be moved from one to the other.
"""

import base64
import hmac
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from infra.redaction import SECRETS
from infra.settings import StageSettings


class ExposureError(Exception):
    """Metrics cannot be exposed as the settings say; the text names the variable at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What whoever asks for metrics has to show; where neither is set, nothing is asked for."""

    token: SecretStr | None = None
    basic: SecretStr | None = None

    def __bool__(self) -> bool:
        """Say whether anything is asked for."""
        return bool(self._wanted())

    def admit(self, authorization: str) -> bool:
        """Say whether this header's value may pass, in a time that tells nothing of the secrets."""
        scheme, _, shown = authorization.partition(" ")
        # bytes that are no text arrive as surrogates
        what = f"{scheme.lower()} {shown.strip()}".encode(errors="surrogatepass")
        wanted = self._wanted()
        fits = [hmac.compare_digest(what, each) for each in wanted]
        return not wanted or any(fits)

    @property
    def challenges(self) -> tuple[str, ...]:
        """The schemes that are understood, as `WWW-Authenticate` says them."""
        bearer = () if self.token is None else ('Bearer realm="metrics"',)
        return bearer if self.basic is None else (*bearer, 'Basic realm="metrics", charset="UTF-8"')

    def _wanted(self) -> tuple[bytes, ...]:
        wanted = []
        if self.token is not None:
            wanted.append(b"bearer " + self.token.get_secret_value().encode())
        if self.basic is not None:
            wanted.append(b"basic " + base64.b64encode(self.basic.get_secret_value().encode()))
        return tuple(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Where metrics are served, to whom, and with which certificate."""

    host: str = "127.0.0.1"
    port: int = 0
    credentials: Credentials = Credentials()
    tls: ssl.SSLContext | None = None


def exposure(settings: StageSettings) -> Exposure:
    """Return how `settings` want metrics exposed.

    Reads the files that they name. Raises ExposureError where a file cannot be used, where half of
    a pair is missing, and where metrics would be open to anyone beyond this machine.
    """
    credentials = Credentials(token=_token(settings), basic=_basic(settings))
    host = settings.metrics_host
    if not credentials and not _is_loopback(host):
        message = (
            f"METRICS_HOST: {host} is open to other machines: set METRICS_TOKEN, or METRICS_USER "
            "and METRICS_PASSWORD, or listen on 127.0.0.1"
        )
        raise ExposureError(message)
    return Exposure(
        host=host, port=settings.metrics_port, credentials=credentials, tls=_tls(settings)
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(settings: StageSettings) -> SecretStr | None:
    name, token = _secret("METRICS_TOKEN", settings.metrics_token, settings.metrics_token_file)
    # it travels in a header, between spaces
    if token is not None and not _is_word(token):
        message = f"{name}: expected ASCII letters, digits and punctuation, without spaces"
        raise ExposureError(message)
    return None if token is None else SecretStr(token)


def _is_word(token: str) -> bool:
    return token.isascii() and token.isprintable() and token != "" and " " not in token


def _basic(settings: StageSettings) -> SecretStr | None:
    user = settings.metrics_user
    name, password = _secret(
        "METRICS_PASSWORD", settings.metrics_password, settings.metrics_password_file
    )
    if user is None and password is None:
        return None
    if user is None or password is None:
        there, missing = (
            (name, "METRICS_USER")
            if user is None
            else ("METRICS_USER", "METRICS_PASSWORD or METRICS_PASSWORD_FILE")
        )
        message = f"{there}: of no use without {missing}"
        raise ExposureError(message)
    if ":" in user or not user.isprintable():
        message = f"METRICS_USER: {user!r} cannot be a user: expected no colon or control character"
        raise ExposureError(message)
    if not password.strip() or not password.isprintable():
        message = f"{name}: expected a password, on one line and without control characters"
        raise ExposureError(message)
    return SecretStr(f"{user}:{password}")


def _secret(name: str, value: SecretStr | None, file: Path | None) -> tuple[str, str | None]:
    """Return which variable a secret is from, and the secret; the variable itself counts first."""
    if value is not None:
        return name, value.get_secret_value()
    if file is None:
        return name, None
    try:
        secret = _read(f"{name}_FILE", file).decode().strip()
    except UnicodeDecodeError as error:
        message = f"{name}_FILE: {file} is not text"
        raise ExposureError(message) from error
    SECRETS.add(secret)
    return f"{name}_FILE", secret


def _read(variable: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"{variable}: {file} cannot be read: {error.strerror}"
        raise ExposureError(message) from error


_CERTIFICATE, _KEY = "METRICS_TLS_CERTIFICATE_FILE", "METRICS_TLS_KEY_FILE"
#: How OpenSSL says that a key is another's; the second one where it is even of another kind.
_OF_ANOTHER = {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}


def _tls(settings: StageSettings) -> ssl.SSLContext | None:
    certificate, key = settings.metrics_tls_certificate_file, settings.metrics_tls_key_file
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        there, missing = (_KEY, _CERTIFICATE) if certificate is None else (_CERTIFICATE, _KEY)
        message = f"{there}: of no use without {missing}"
        raise ExposureError(message)
    for variable, file in ((_CERTIFICATE, certificate), (_KEY, key)):
        _read(variable, file)  # OpenSSL would not say which of them it could not read
    return _context(certificate, key)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
    except ssl.SSLError as error:
        message = f"{_CERTIFICATE}: {certificate} holds no certificate in PEM"
        raise ExposureError(message) from error
    asked: list[Path] = []

    def passphrase() -> str:  # without this OpenSSL asks at the terminal
        asked.append(key)
        return ""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, passphrase)
    except ssl.SSLError as error:
        if asked:
            why = "is encrypted: expected a key without a passphrase"
        elif error.reason in _OF_ANOTHER:
            why = f"is not the key of the certificate in {certificate}"
        elif error.reason:
            why = f"cannot serve the certificate in {certificate}: {_words(error.reason)}"
        else:
            why = "holds no private key in PEM"
        message = f"{_KEY}: {key} {why}"
        raise ExposureError(message) from error
    return context


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")
