"""The business questions of docs/sql.md."""

from typing import NamedTuple


class Question(NamedTuple):
    """A question, as a person asks it, and as ClickHouse is asked."""

    title: str
    sql: str
    note: str = ""


QUESTIONS = (
    Question(
        "How did AAPL trade, minute by minute?",
        "SELECT minute, open, high, low, close, volume, round(vwap, 2) AS vwap\n"
        "FROM bars_1m\n"
        "WHERE symbol = 'AAPL' AND source = 'alpaca' AND minute >= '2026-01-05'\n"
        "    AND minute < '2026-01-06'\n"
        "ORDER BY minute",
    ),
    Question(
        "And by five minutes, according to each source?",
        "SELECT start, source, open, high, low, close\n"
        "FROM bars_5m\n"
        "WHERE symbol = 'AAPL' AND start >= '2026-01-05' AND start < '2026-01-06'\n"
        "ORDER BY start, source",
    ),
    Question(
        "How far are the two sources apart?",
        "SELECT minute, alpaca, yahoo, delta, round(delta_percent, 2) AS delta_percent\n"
        "FROM source_spread_1m\n"
        "WHERE symbol = 'AAPL' AND minute >= '2026-01-05' AND minute < '2026-01-06'\n"
        "ORDER BY minute",
    ),
    Question(
        "On which stocks do they disagree?",
        "SELECT symbol, sum(compared) AS compared, sum(inconsistent) AS inconsistent,\n"
        "       max(max_delta) AS worst_percent\n"
        "FROM comparisons_1h\n"
        "WHERE hour >= '2026-01-05'\n"
        "GROUP BY symbol\n"
        "HAVING inconsistent > 0\n"
        "ORDER BY inconsistent DESC",
    ),
    Question(
        "How wide is the market of a stock?",
        "SELECT symbol, sum(quotes) AS quotes, round(avg(spread), 4) AS mean_spread,\n"
        "       max(widest) AS widest\n"
        "FROM quoted_spread_1m\n"
        "WHERE minute >= '2026-01-05'\n"
        "GROUP BY symbol\n"
        "ORDER BY mean_spread DESC",
    ),
    Question(
        "What share of the prices came from Alpaca, and what is the trend of seven days?",
        "SELECT day, source, prices, round(share_percent, 1) AS share,\n"
        "       round(share_7d_percent, 1) AS share_7d\n"
        "FROM source_share_1d\n"
        "ORDER BY day, source",
    ),
    Question(
        "And hour by hour?",
        "SELECT exchange_hour, source, prices, round(share_percent, 1) AS share\n"
        "FROM source_share_1h\n"
        "WHERE day = '2026-01-05'\n"
        "ORDER BY exchange_hour, source",
    ),
    Question(
        "Which ten stocks are the most active?",
        "SELECT symbol, sum(messages) AS messages, sum(trades) AS trades,\n"
        "       round(avg(mean_change_percent), 2) AS mean_change_percent\n"
        "FROM symbol_activity_1d\n"
        "WHERE day >= '2026-01-05'\n"
        "GROUP BY symbol\n"
        "ORDER BY messages DESC\n"
        "LIMIT 10",
    ),
    Question(
        "When is the market busiest?",
        "SELECT day, exchange_hour, messages, round(share_percent, 1) AS share_of_day\n"
        "FROM peak_hours\n"
        "ORDER BY day",
        "The hour is the exchange's: 9 is from nine to ten in New York.",
    ),
    Question(
        "Which stocks moved the most?",
        "SELECT symbol, last_change_percent\n"
        "FROM symbol_activity_1d\n"
        "WHERE day = '2026-01-05'\n"
        "ORDER BY abs(last_change_percent) DESC\n"
        "LIMIT 10",
    ),
    Question(
        "How often did Alpaca fail, for how long, and whom did it concern?",
        "SELECT started_at, reason, by, round(recovery_seconds, 1) AS recovery_s,\n"
        "       round(duration_seconds) AS lasted_s,\n"
        "       round(unavailable_seconds) AS no_price_s, delayed_prices, delayed_symbols\n"
        "FROM failovers\n"
        "ORDER BY started_at",
    ),
    Question(
        "How much of the day were there prices?",
        "SELECT day, primary_seconds, fallback_seconds, unavailable_seconds,\n"
        "       round(availability_percent, 3) AS available\n"
        "FROM availability_1d\n"
        "WHERE day = '2026-01-05'",
        "The service level is 99.5 % over thirty days.",
    ),
    Question(
        "What is rejected, and why?",
        "SELECT source, reason, rejected, symbols, example\n"
        "FROM rejections_1d\n"
        "WHERE day = '2026-01-05'\n"
        "ORDER BY rejected DESC",
    ),
    Question(
        "What share of the ticks is valid?",
        "SELECT day, source, valid, rejected,\n"
        "       round(100 * valid / (valid + rejected), 2) AS valid_percent\n"
        "FROM\n"
        "(\n"
        "    SELECT toDate(received_at, 'America/New_York') AS day, source,\n"
        "           countIf(ok) AS valid, countIf(NOT ok) AS rejected\n"
        "    FROM\n"
        "    (\n"
        "        SELECT received_at, source, true AS ok FROM valid_ticks FINAL\n"
        "        UNION ALL\n"
        "        SELECT received_at, source, false AS ok FROM rejected_ticks FINAL\n"
        "    )\n"
        "    GROUP BY day, source\n"
        ")\n"
        "ORDER BY day, source",
    ),
    Question(
        "What was missed, and was it filled?",
        "SELECT gap_id, source, cause, state, since, round(seconds) AS seconds, trades, bars\n"
        "FROM gaps\n"
        "ORDER BY since",
    ),
    Question(
        "How complete is the history of each stock?",
        "SELECT day, symbol, gaps, open_seconds, session_seconds, unfilled_seconds, backfilled,\n"
        "       round(complete_percent, 2) AS complete\n"
        "FROM completeness_1d\n"
        "ORDER BY complete, symbol",
        "A stock and day without a row has no gap: it is complete.",
    ),
    Question(
        "Which trades were corrected or cancelled?",
        "SELECT symbol, market_time, state, original_price, price, original_size, size,\n"
        "       amended_at\n"
        "FROM trade_history\n"
        "WHERE day = '2026-01-05' AND state != 'reported'\n"
        "ORDER BY market_time",
    ),
    Question(
        "How fast do prices go out?",
        "SELECT hour, source, prices, round(routing_p50) AS p50_ms,\n"
        "       round(routing_p95) AS p95_ms, round(age_p50) AS age_ms\n"
        "FROM latency_1h\n"
        "WHERE hour >= '2026-01-05' AND hour < '2026-01-06'\n"
        "ORDER BY hour, source",
    ),
    Question(
        "How much of the vendor's plan is used, and what does it cost?",
        "SELECT day, feed, plan, symbols, plan_symbols, used_percent, turned_away, monthly_usd\n"
        "FROM plan_usage_1d\n"
        "ORDER BY day",
    ),
    Question(
        "How many minutes did users spend with real-time and with delayed prices?",
        "SELECT day, hub, connections, users, minutes, real_time_minutes, delayed_minutes\n"
        "FROM usage_1d\n"
        "ORDER BY day, hub",
    ),
    Question(
        "Which stocks do users ask for?",
        "SELECT symbol, sum(subscribers) AS subscribers\n"
        "FROM symbol_subscribers_1d\n"
        "WHERE day >= '2026-01-05'\n"
        "GROUP BY symbol\n"
        "ORDER BY subscribers DESC",
    ),
    Question(
        "What was known of a price when it went out?",
        "SELECT p.symbol AS symbol, p.price AS price, p.source AS source,\n"
        "       p.market_time AS market_time, s.state AS state, s.reason AS reason\n"
        "FROM (SELECT * FROM routed_prices FINAL WHERE NOT is_real_time) AS p\n"
        "INNER JOIN router_states AS s ON p.epoch = s.epoch\n"
        "ORDER BY market_time",
        "The raw bytes of it are in `raw_ticks`, at (`raw_topic`, `raw_partition`, `raw_offset`).",
    ),
)
