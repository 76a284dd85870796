"""The programs that are not Python: found on PATH, or fetched once into `.tools/`.

Java 17 or newer must be there. Kafka's jars are resolved by Maven from `infra/kafka/pom.xml`.
Prometheus and Alertmanager are taken from PATH, else unpacked from Debian's packages (no root, no
service started); without them the stack runs all the same and says what is missing.

What was fetched lies in a directory named by a digest of what was asked for, made elsewhere and
renamed into place under a lock: half a download is never taken for a whole one.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.settings import EX_UNAVAILABLE
from infra.stack.refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]
POM = ROOT / "infra" / "kafka" / "pom.xml"
LEAST_JAVA = 17
#: Long enough for a first download over a slow line.
FETCH_SECONDS = 600

PROGRAM_PACKAGES = ("prometheus", "prometheus-alertmanager")
#: What Debian's Prometheus page links to; the program itself runs without.
PAGE_PACKAGES = (
    "fonts-glyphicons-halflings",
    "libjs-bootstrap4",
    "libjs-d3",
    "libjs-eonasdan-bootstrap-datetimepicker",
    "libjs-jquery",
    "libjs-jquery-hotkeys",
    "libjs-moment",
    "libjs-moment-timezone",
    "libjs-mustache",
    "libjs-popper.js",
    "libjs-rickshaw",
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """Where the monitoring programs are.

    Attributes:
        prometheus: the server; promtool and amtool check its and Alertmanager's configuration.
        promtool: its checker.
        alertmanager: the other server.
        amtool: its checker.
        page_assets: the directory of Prometheus's page, where its package leaves that outside the
            program; None where the program holds its page itself.
        alertmanager_home: where Alertmanager has to be started; None for anywhere.

    """

    prometheus: Path
    promtool: Path
    alertmanager: Path
    amtool: Path
    page_assets: Path | None = None
    alertmanager_home: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """Everything that the stack starts and that is not Python.

    Attributes:
        java: the Java launcher; None where Kafka runs elsewhere.
        kafka: the directory of Kafka's jars; None where Kafka runs elsewhere.
        monitoring: None where it cannot be had.
        notes: what the stack has to do without, a sentence each.

    """

    java: Path | None = None
    kafka: Path | None = None
    monitoring: Monitoring | None = None
    notes: tuple[str, ...] = ()


def tools_directory() -> Path:
    """Return where fetched programs are kept: in the checkout, or in the user's cache."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / ".tools"
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "twinfeed"


def resolve(
    tools: Path, *, kafka: bool = True, monitoring: bool = True, say: Say = lambda _: None
) -> Toolchain:
    """Find or fetch what the stack needs. Raises Refusal where it cannot start without.

    Args:
        tools: the directory for what has to be fetched.
        kafka: whether this machine runs the broker.
        monitoring: whether this machine runs Prometheus or Alertmanager.
        say: told what takes long, before it does.

    """
    java = find_java(os.environ) if kafka else None
    jars = kafka_jars(tools, say) if kafka else None
    found: Monitoring | None = None
    notes: tuple[str, ...] = ()
    if monitoring:
        try:
            found = find_monitoring(tools, say)
        except Refusal as refusal:
            notes = (str(refusal),)
    return Toolchain(java=java, kafka=jars, monitoring=found, notes=notes)


# -- Java and Kafka


def find_java(environment: Mapping[str, str]) -> Path:
    """Return a Java launcher of at least `LEAST_JAVA`, from JAVA_HOME or PATH. Raises Refusal."""
    home = environment.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not found or not os.access(found, os.X_OK):
        where = f"in JAVA_HOME ({home})" if home else "on PATH and JAVA_HOME is not set"
        message = (
            f"Kafka needs Java {LEAST_JAVA} or newer and there is no java {where}: install it "
            f"(Debian: apt-get install openjdk-{LEAST_JAVA}-jre-headless), "
            "or name a Kafka elsewhere with KAFKA_BOOTSTRAP_SERVERS"
        )
        raise Refusal(message, EX_UNAVAILABLE)
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = java_version(said.stderr + said.stdout)
    if version is None or version < LEAST_JAVA:
        have = f"is Java {version}" if version else "does not tell its version"
        message = (
            f"Kafka needs Java {LEAST_JAVA} or newer and {found} {have}: install a newer one, "
            "or name it with JAVA_HOME"
        )
        raise Refusal(message, EX_UNAVAILABLE)
    return Path(found)


def java_version(said: str) -> int | None:
    """Read the major version out of what `java -version` says, before and after Java 9's change."""
    found = re.search(r'version "(\d+)(?:\.(\d+))?', said)
    if not found:
        return None
    first, second = found.groups()
    return int(second) if first == "1" and second else int(first)


def kafka_jars(tools: Path, say: Say) -> Path:
    """Return the directory of Kafka's jars, resolved by Maven if need be. Raises Refusal."""
    jars = tools / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"

    def fetch(into: Path) -> None:
        maven = _find_maven(say)
        say("resolving Apache Kafka by Maven (once, about 45 MB)")
        _run(
            [
                maven,
                *("--quiet", "--batch-mode", "--file", str(POM)),
                "dependency:copy-dependencies",
                "-DincludeScope=runtime",
                f"-DoutputDirectory={into}",
            ],
            failing="Maven could not resolve Apache Kafka",
        )

    return _once(jars, fetch)


def _find_maven(say: Say) -> str:
    if found := shutil.which("mvn"):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing Maven with apt-get")
        _run(["apt-get", "install", "-y", "maven"], failing="apt-get could not install Maven")
        if found := shutil.which("mvn"):
            return found
    message = (
        "Kafka is resolved by Maven and there is no mvn on PATH: install it "
        "(Debian: apt-get install maven), or name a Kafka elsewhere with KAFKA_BOOTSTRAP_SERVERS"
    )
    raise Refusal(message, EX_UNAVAILABLE)


# -- Prometheus and Alertmanager


def find_monitoring(tools: Path, say: Say) -> Monitoring:
    """Return the monitoring programs, from PATH or from Debian's packages. Raises Refusal."""
    return _monitoring_on_path() or _monitoring_unpacked(tools, say)


def _monitoring_on_path() -> Monitoring | None:
    found = {
        "prometheus": shutil.which("prometheus"),
        "promtool": shutil.which("promtool"),
        # Debian calls it by its package's name
        "alertmanager": shutil.which("alertmanager") or shutil.which("prometheus-alertmanager"),
        "amtool": shutil.which("amtool"),
    }
    if not all(found.values()):
        return None
    return Monitoring(**{name: Path(path) for name, path in found.items() if path})


def _monitoring_unpacked(tools: Path, say: Say) -> Monitoring:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        message = (
            "no metrics and alerts: there are no prometheus, promtool, alertmanager and amtool "
            "on PATH, and without apt-get they cannot be fetched; everything else runs"
        )
        raise Refusal(message)
    wanted = "\n".join((*PROGRAM_PACKAGES, *PAGE_PACKAGES))
    root = tools / f"monitoring-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"

    def fetch(into: Path) -> None:
        say("unpacking Prometheus and Alertmanager from Debian's packages (once, about 30 MB)")
        with tempfile.TemporaryDirectory(dir=tools) as downloads:
            _download(PROGRAM_PACKAGES, Path(downloads))
            try:
                _download(PAGE_PACKAGES, Path(downloads))
            except Refusal as refusal:
                say(f"the page of Prometheus will lack its scripts, its API is whole: {refusal}")
            for package in sorted(Path(downloads).glob("*.deb")):
                _run(
                    ["dpkg", "-x", str(package), str(into)],
                    failing=f"dpkg could not unpack {package.name}",
                )
        make_relative(into / "usr" / "bin" / "prometheus-alertmanager")

    programs = _once(root, fetch) / "usr" / "bin"
    return Monitoring(
        prometheus=programs / "prometheus",
        promtool=programs / "promtool",
        alertmanager=programs / "prometheus-alertmanager",
        amtool=programs / "amtool",
        page_assets=root / "usr" / "share" / "prometheus" / "web",
        alertmanager_home=root / "usr" / "share" / "prometheus",
    )


#: Debian's Alertmanager opens its templates by this path, whatever its options say.
TEMPLATES = b"/usr/share/prometheus/alertmanager"


def make_relative(program: Path) -> None:
    """Let an unpacked Alertmanager find its templates from the directory it is started in.

    The path in the program is replaced by one of the same length, as conda does with prefixes.
    """
    relative = b"./" * ((len(TEMPLATES) - len(b"alertmanager")) // 2) + b"alertmanager"
    program.write_bytes(program.read_bytes().replace(TEMPLATES, relative))


def _download(packages: Sequence[str], into: Path) -> None:
    command = ["apt-get", "download", "-q", *packages]
    failing = "no metrics and alerts: apt-get could not fetch Prometheus and Alertmanager"
    try:
        _run(command, failing=failing, cwd=into)
    except Refusal:
        if os.geteuid() != 0:
            raise
        # a fresh machine has no package lists yet
        _run(["apt-get", "update", "-q"], failing=failing)
        _run(command, failing=failing, cwd=into)


# -- fetching


def _once(directory: Path, fetch: Callable[[Path], None]) -> Path:
    """Return `directory`, filled by `fetch` if it is not there; two processes do not collide."""
    if directory.is_dir():
        return directory
    tools = directory.parent
    with _locked(tools):
        if not directory.is_dir():
            with tempfile.TemporaryDirectory(dir=tools) as scratch:
                whole = Path(scratch) / "whole"
                whole.mkdir()
                fetch(whole)
                whole.rename(directory)
    return directory


@contextmanager
def _locked(tools: Path) -> Iterator[None]:
    try:
        tools.mkdir(parents=True, exist_ok=True)
        lock = (tools / ".lock").open("w")
    except OSError as error:
        message = f"{tools} cannot be written, where fetched programs are kept: {error.strerror}"
        raise Refusal(message, os.EX_CANTCREAT) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], *, failing: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        message = f"{failing} within {FETCH_SECONDS} s"
        raise Refusal(message, EX_UNAVAILABLE) from error
    if done.returncode:
        message = f"{failing}: {_cause(done.stdout + done.stderr)}"
        raise Refusal(message, EX_UNAVAILABLE)


def _cause(output: str) -> str:
    """Pick the line that says why out of a tool's output: its first error, else its last words."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"\[?(ERROR\]|E:|dpkg-deb: error)", line)]
    return (errors or lines[-1:] or ["it said nothing"])[0][:300]
