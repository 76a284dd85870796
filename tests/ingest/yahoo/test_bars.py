"""Which bars of a chart are final, and that a day's each come once."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.market_calendar import load
from ingest.yahoo.bars import FinalBar, read_bars
from ingest.yahoo.history import History
from ingest.yahoo.wire import BAR_S, LAG_S
from tests.ingest.yahoo.working import TEN_S

OPENING_S = TEN_S - 1800
CLOSE_S = OPENING_S + 6 * 3600 + 1800


def chart(rows: dict[int, Any], traded_at_s: int | None) -> bytes:
    """Return a chart with rows whose figures are all the same, by the time they begin."""
    columns = {name: list(rows.values()) for name in ("open", "high", "low", "close", "volume")}
    return json.dumps(
        {
            "meta": {"symbol": "AAPL", "regularMarketTime": traded_at_s},
            "timestamp": list(rows),
            "indicators": {"quote": [columns]},
        }
    ).encode()


def final(start_s: int, figure: float) -> FinalBar:
    """Return a bar whose figures are all the same."""
    return FinalBar(start_s, *[figure] * 5)


@pytest.mark.parametrize(
    ("rows", "traded_at_s", "received_at_s", "starts", "told_until_s"),
    [
        ({0: 1, 300: 2}, 600, 630, [0, 300], 600),
        ({0: 1, 300: 2}, 599, 630, [0], 599),
        ({0: 1, 300: None}, 615, 630, [0], 615),
        ({0: 1, 300: 2, 615: 3}, 615, 630, [0, 300], 615),
        ({0: 1, 300: 2}, 310, 600 + LAG_S, [0, 300], 600),
        ({0: 1, 300: 2}, 310, 599 + LAG_S, [0], 310),
        ({0: 1}, None, 300 + LAG_S, [0], 300),
        ({}, 310, 9000, [], 310),
        ({}, None, 9000, [], 0),
    ],
)
def test_bars_are_final_when_a_later_trade_was_told(
    rows: dict[int, Any],
    traded_at_s: int | None,
    received_at_s: int,
    starts: list[int],
    told_until_s: int,
) -> None:
    """Or when they are so old that Yahoo cannot be further behind."""
    bars = read_bars(chart(rows, traded_at_s), received_at_s)
    assert bars.final == [final(start_s, rows[start_s]) for start_s in starts]
    assert (bars.symbol, bars.rows, bars.told_until_s) == ("AAPL", len(rows), told_until_s)


@settings(deadline=None, max_examples=60)
@given(
    first_s=st.integers(OPENING_S, CLOSE_S - 1),
    gaps=st.lists(st.integers(1, 2400), min_size=1, max_size=40),
    delay_s=st.integers(0, LAG_S - BAR_S),
    outage=st.tuples(st.integers(OPENING_S, CLOSE_S), st.integers(0, 4 * 3600)),
)
def test_every_bar_of_a_day_is_told_once(
    first_s: int, gaps: list[int], delay_s: int, outage: tuple[int, int]
) -> None:
    """However thinly it trades, however late Yahoo is, and however long it was away meanwhile."""
    trades = [first_s]
    for gap in gaps:
        trades.append(trades[-1] + gap)
    trades = [trade for trade in trades if trade < CLOSE_S]
    away_s, for_s = outage
    history, told = History(["AAPL"], load()), list[FinalBar]()
    for now_s in range(OPENING_S, CLOSE_S + 5 * 3600, 150):
        if away_s <= now_s < away_s + for_s or not (window := history.next(now_s)):
            continue
        known = [trade for trade in trades if trade + delay_s <= now_s]
        counts: dict[int, int] = {}
        for trade in known:
            start_s = trade // BAR_S * BAR_S
            if window.since_s <= start_s < window.until_s:
                counts[start_s] = counts.get(start_s, 0) + 1
        bars = read_bars(chart(counts, known[-1] if known else None), now_s)
        told += bars.final
        history.answered(window, bars.told_until_s)
    whole: dict[int, int] = {}
    for trade in trades:
        start_s = trade // BAR_S * BAR_S
        whole[start_s] = whole.get(start_s, 0) + 1
    assert told == [final(start_s, count) for start_s, count in sorted(whole.items())]
