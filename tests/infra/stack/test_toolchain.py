"""Programs are found, or fetched once, or missed in one sentence."""

import os
import stat
import threading
from pathlib import Path

import pytest

from infra.settings import EX_UNAVAILABLE
from infra.stack import toolchain
from infra.stack.refusal import Refusal


def program(path: Path, script: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_202"', 8),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_versions_are_read(said: str, version: int | None) -> None:
    """Old and new ways to tell a version, and none."""
    assert toolchain.java_version(said) == version


def test_java_home_comes_first(tmp_path: Path) -> None:
    """A new enough Java in JAVA_HOME is taken."""
    java = program(tmp_path / "bin" / "java", "echo 'openjdk version \"21.0.1\"' >&2")
    assert toolchain.find_java({"JAVA_HOME": str(tmp_path)}) == java


def test_an_old_java_is_refused_with_its_version(tmp_path: Path) -> None:
    """Which Java, how old, and how new it has to be."""
    program(tmp_path / "bin" / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    with pytest.raises(Refusal, match=r"needs Java 17 or newer and .* is Java 11") as raised:
        toolchain.find_java({"JAVA_HOME": str(tmp_path)})
    assert raised.value.exit_code == EX_UNAVAILABLE


@pytest.mark.parametrize("home", ["/nowhere", None])
def test_a_missing_java_is_told_with_the_way_out(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was looked for, how to install it, and how to do without."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refusal, match=r"there is no java .*apt-get.*KAFKA_BOOTSTRAP_SERVERS"):
        toolchain.find_java({"JAVA_HOME": home} if home else {})


def test_a_missing_maven_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Maven and without apt-get, the sentence names what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match=r"no mvn on PATH: install it .*apt-get install maven"):
        toolchain.kafka_jars(tmp_path / "tools", lambda _: None)


def test_what_maven_says_is_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error of a failing Maven is in the sentence, and nothing half-done is left."""
    program(tmp_path / "mvn", "echo '[INFO] hm'; echo '[ERROR] no route to the repository'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Refusal, match=r"could not resolve Apache Kafka: .*no route to the repos"):
        toolchain.kafka_jars(tmp_path / "tools", lambda _: None)
    assert [path.name for path in (tmp_path / "tools").iterdir()] == [".lock"]


def test_two_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second waits and takes what is there."""
    program(
        tmp_path / "mvn",
        f"echo run >> {tmp_path}/runs; "
        "for argument; do case $argument in -DoutputDirectory=*) out=${argument#*=};; esac; done; "
        'touch "$out/kafka.jar"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found: list[Path] = []
    fetching = [
        threading.Thread(
            target=lambda: found.append(toolchain.kafka_jars(tmp_path / "tools", lambda _: None))
        )
        for _ in range(4)
    ]
    for thread in fetching:
        thread.start()
    for thread in fetching:
        thread.join()
    assert (tmp_path / "runs").read_text() == "run\n"
    assert len(found) == 4
    assert (found[0] / "kafka.jar").exists()


def test_monitoring_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under upstream's names or Debian's."""
    for name in ("prometheus", "promtool", "prometheus-alertmanager", "amtool"):
        program(tmp_path / name, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = toolchain.find_monitoring(tmp_path / "tools", lambda _: None)
    assert found.alertmanager == tmp_path / "prometheus-alertmanager"
    assert found.page_assets is None


def test_the_stack_goes_without_monitoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the programs cannot be had, that is a note and no obstacle."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = toolchain.resolve(tmp_path / "tools", kafka=False)
    assert found.monitoring is None
    (note,) = found.notes
    assert "no metrics and alerts" in note
    assert "everything else runs" in note


def test_nothing_is_looked_for_that_runs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Kafka and monitoring elsewhere, neither Java nor anything else is needed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = toolchain.resolve(tmp_path / "tools", kafka=False, monitoring=False)
    assert found == toolchain.Toolchain()


def test_an_unpacked_alertmanager_finds_its_templates(tmp_path: Path) -> None:
    """The fixed path in the program becomes a relative one of the same length."""
    copy = tmp_path / "program"
    copy.write_bytes(b"\x00before" + toolchain.TEMPLATES + b"after")
    toolchain.make_relative(copy)
    changed = copy.read_bytes()
    assert len(changed) == len(b"\x00before" + toolchain.TEMPLATES + b"after")
    path = changed.removeprefix(b"\x00before").removesuffix(b"after")
    assert os.path.normpath(path) == b"alertmanager"
