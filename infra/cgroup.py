"""How much memory this process may use: what its cgroup says, and the groups around it."""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
#: cgroup v1 says "unlimited" as the largest number of whole pages.
UNLIMITED_V1 = 1 << 60


def memory_limit(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Return the least of the limits that hold for this process, in bytes; None for no limit."""
    limits = [limit for file in _files(root, own) if (limit := _read(file)) is not None]
    return min(limits, default=None)


def _files(root: Path, own: Path) -> list[Path]:
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except OSError:
        return []  # no Linux, or no /proc
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            files += _upwards(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            files += _upwards(root / "memory", path, "memory.limit_in_bytes")
    return files


def _upwards(root: Path, path: str, name: str) -> list[Path]:
    inside = (root / path.lstrip("/")).resolve()
    # in a container the path may be the host's, which is not here: what is mounted is our own
    places = [inside, *inside.parents] if inside.is_relative_to(root.resolve()) else []
    return [place / name for place in places if place.is_relative_to(root.resolve())] or [
        root / name
    ]


def _read(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None  # the root group has no such file
    return int(text) if text.isdigit() and int(text) < UNLIMITED_V1 else None
