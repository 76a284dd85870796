"""What follows when a process has ended, as a table."""

import pytest

from infra.settings import EX_CONFIG, EX_SOFTWARE
from infra.stack.restarts import BACKOFF, FIRST_STARTS, Ended, GiveUp, Restart, after, how


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (Ended(exit_code=1, ever_ready=False, failures=1), Restart(BACKOFF[0])),
        (Ended(exit_code=1, ever_ready=False, failures=2), Restart(BACKOFF[1])),
        (Ended(exit_code=0, ever_ready=True, failures=1), Restart(BACKOFF[0])),
        (Ended(exit_code=-9, ever_ready=True, failures=999), Restart(BACKOFF[-1])),
        (Ended(exit_code=69, ever_ready=False, failures=FIRST_STARTS), GiveUp(69, fatal=True)),
        (
            Ended(exit_code=-11, ever_ready=False, failures=FIRST_STARTS),
            GiveUp(EX_SOFTWARE, fatal=True),
        ),
        (
            Ended(exit_code=0, ever_ready=False, failures=FIRST_STARTS),
            GiveUp(EX_SOFTWARE, fatal=True),
        ),
        (
            Ended(exit_code=1, ever_ready=False, failures=FIRST_STARTS, essential=False),
            GiveUp(1, fatal=False),
        ),
        (Ended(exit_code=EX_CONFIG, ever_ready=False, failures=1), GiveUp(EX_CONFIG, fatal=True)),
        (Ended(exit_code=EX_CONFIG, ever_ready=True, failures=1), GiveUp(EX_CONFIG, fatal=False)),
        (
            Ended(exit_code=EX_CONFIG, ever_ready=False, failures=1, essential=False),
            GiveUp(EX_CONFIG, fatal=False),
        ),
    ],
)
def test_what_follows(ended: Ended, expected: Restart | GiveUp) -> None:
    """A crash is restarted, ever later; a bad setting or five failed first starts are not."""
    assert after(ended) == expected


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [(0, "exit code 0"), (78, "exit code 78"), (-9, "killed by SIGKILL"), (-99, "by signal 99")],
)
def test_how_it_ended_in_words(exit_code: int, words: str) -> None:
    """A signal is named; one without a name is numbered."""
    assert words in how(exit_code)
