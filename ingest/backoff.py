"""How long to wait before the next attempt."""

#: What share of a delay is left to chance, so that many clients do not come back in step.
SPREAD = 0.25

#: Doubling stops to matter long before this, and a float overflows at 1024.
_MAX_DOUBLINGS = 64


def backoff(
    failures: int, *, first_s: float, cap_s: float, floor_s: float = 0.0, jitter: float
) -> float:
    """Return the seconds to wait after the `failures`-th failure in a row.

    `first_s`, then twice that, and so on, up to `cap_s`, shortened by chance; but never less than
    `floor_s`, which chance lengthens.

    Args:
        failures: how many attempts in a row have failed, from 1.
        first_s: the delay after the first.
        cap_s: the longest delay that doubling leads to.
        floor_s: what the vendor insists on, however few the failures.
        jitter: chance, in [0, 1).

    """
    doubled = min(cap_s, first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
    return max(doubled * (1 - SPREAD * jitter), floor_s * (1 + SPREAD * jitter))
