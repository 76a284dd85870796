"""The memory limit is the least of those that hold, wherever the kernel writes it."""

from pathlib import Path

import pytest

from infra.cgroup import memory_limit

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a/b", {"a/b/memory.max": f"{64 * MIB}"}, 64 * MIB),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": f"{32 * MIB}"}, 32 * MIB),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "max"}, None),
        ("0::/a", {"a/memory.max": f"{8 * MIB}", "memory.max": f"{4 * MIB}"}, 4 * MIB),
        # in a container: the path is the host's, and what is mounted is ours
        ("0::/../../elsewhere", {"memory.max": f"{16 * MIB}"}, 16 * MIB),
        ("4:memory:/x", {"memory/x/memory.limit_in_bytes": f"{2 * MIB}"}, 2 * MIB),
        ("4:memory:/x", {"memory/x/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("3:cpu:/x", {"memory/x/memory.limit_in_bytes": "1"}, None),
        ("0::/", {}, None),
    ],
)
def test_the_least_limit_holds(
    tmp_path: Path, own: str, files: dict[str, str], limit: int | None
) -> None:
    """Of its own group and those around it; `max` and what is not there limit nothing."""
    root, line = tmp_path / "cgroup", tmp_path / "own"
    line.write_text(own + "\n")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    assert memory_limit(root, line) == limit


def test_without_proc_there_is_no_limit(tmp_path: Path) -> None:
    """Another system has no such files."""
    assert memory_limit(tmp_path, tmp_path / "none") is None
