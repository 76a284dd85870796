"""Each thing that keeps a stack from running is said in one sentence, with its exit code."""

import os
import re
import socket
from pathlib import Path

import pytest

from infra.settings import EX_CANTCREAT, EX_UNAVAILABLE
from infra.stack import preflight
from infra.stack.refusal import Refusal


def refused(raised: pytest.ExceptionInfo[Refusal], exit_code: int) -> str:
    """The sentence of a refusal with that exit code."""
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert raised.value.exit_code == exit_code
    return sentence


def test_a_taken_port_is_named_with_its_purpose_and_the_way_out() -> None:
    """Which port, what for, and how to move it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refusal) as raised:
            preflight.check_ports({port: "Kafka"}, "127.0.0.1")
    sentence = refused(raised, EX_CANTCREAT)
    assert f"port {port}, for Kafka, is taken" in sentence
    assert "--port-offset" in sentence
    preflight.check_ports({port: "Kafka"}, "127.0.0.1")


def test_a_full_disk_is_told_with_both_sizes(tmp_path: Path) -> None:
    """How much is free, how much is needed."""
    with pytest.raises(Refusal) as raised:
        preflight.check_space(tmp_path, least=2**60)
    assert re.search(r"only \d+\.\d GB are free .* needs \d+\.\d GB", refused(raised, EX_CANTCREAT))
    preflight.check_space(tmp_path, least=1)


def test_a_directory_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    """A directory with other things in it is not taken."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(Refusal) as raised:
        preflight.claim(tmp_path)
    assert "was not made by twinfeed" in refused(raised, EX_CANTCREAT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_directory_is_claimed_once_and_again(tmp_path: Path) -> None:
    """A new directory becomes ours, and stays so with data in it."""
    data = tmp_path / "some" / "data"
    preflight.claim(data)
    (data / "kafka").mkdir()
    preflight.claim(data)
    assert preflight.is_ours(data)
    assert not preflight.is_ours(tmp_path)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Where a file is in the way, the reason is in the sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(Refusal) as raised:
        preflight.claim(tmp_path / "file" / "data")
    assert "cannot be written (Not a directory)" in refused(raised, EX_CANTCREAT)


def test_data_of_another_user_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run left and this user cannot write is named."""
    preflight.claim(tmp_path)
    (tmp_path / "kafka").mkdir()
    preflight.check_writable(tmp_path)
    # root may write anywhere: the answer of the system is given to it here
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "kafka")
    with pytest.raises(Refusal) as raised:
        preflight.check_writable(tmp_path)
    assert f"{tmp_path / 'kafka'} belongs to another user" in refused(raised, EX_CANTCREAT)


def test_one_stack_a_directory(tmp_path: Path) -> None:
    """A second stack on the same data is refused while the first one holds it, not after."""
    with preflight.alone(tmp_path):
        assert preflight.is_running(tmp_path)
        with pytest.raises(Refusal) as raised, preflight.alone(tmp_path):
            pass
        assert "another stack is running" in refused(raised, EX_UNAVAILABLE)
    assert not preflight.is_running(tmp_path)
    with preflight.alone(tmp_path):
        pass
