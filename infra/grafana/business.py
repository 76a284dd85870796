"""Business: who gets what, and what does it cost?"""

from infra.grafana.board import Board, Panel, Sql, falling, rising

BOARD = Board(
    name="business",
    title="twinfeed / Business",
    description="Who gets what, and what does it cost? Days and hours are New York's.",
    refresh="5m",
    since="now-7d",
    panels=(
        Panel(
            title="Alpaca's share",
            description="Of all prices that went out on the latest day, those in real time.",
            kind="stat",
            unit="percent",
            asks=(
                Sql(
                    "SELECT sumIf(share_percent, source = 'alpaca') AS alpaca\n"
                    "FROM source_share_1d\n"
                    "WHERE {days}\n"
                    "GROUP BY day\n"
                    "ORDER BY day DESC\n"
                    "LIMIT 1"
                ),
            ),
            width=4,
            steps=falling(98, 90),
        ),
        Panel(
            title="Symbols used, of the plan",
            description="Stocks subscribed at Alpaca on the latest day, of those that the plan"
            " allows; empty where it allows any number.",
            kind="stat",
            unit="percent",
            asks=(
                Sql(
                    "SELECT used_percent\n"
                    "FROM plan_usage_1d\n"
                    "WHERE source = 'alpaca' AND {days}\n"
                    "ORDER BY day DESC\n"
                    "LIMIT 1"
                ),
            ),
            width=4,
            steps=rising(80, 100),
            alerts=("AlpacaSymbolSubscriptionChanged",),
        ),
        Panel(
            title="Peak hour",
            description="The busiest hour of the latest day in New York: 9 is from nine to ten.",
            kind="stat",
            unit="none",
            asks=(
                Sql(
                    "SELECT exchange_hour\n"
                    "FROM peak_hours\n"
                    "WHERE {days}\n"
                    "ORDER BY day DESC\n"
                    "LIMIT 1"
                ),
            ),
            width=4,
        ),
        Panel(
            title="Users, latest day",
            description="Who was connected on the latest day, by their tokens, all without one as"
            " one, and by how many connections.",
            kind="stat",
            unit="short",
            asks=(
                Sql(
                    "WITH (SELECT max(day) FROM usage_1d WHERE {days}) AS latest\n"
                    "SELECT uniqExact(user) AS users, count() AS connections\n"
                    "FROM connections\n"
                    "WHERE toDate(connected_at, 'America/New_York') <= latest\n"
                    "  AND toDate(coalesce(left_at, now64(9, 'UTC')), 'America/New_York') >= latest"
                ),
            ),
            width=6,
        ),
        Panel(
            title="Cost of the plan",
            description="What Alpaca's plan costs a month, by the latest day.",
            kind="stat",
            unit="currencyUSD",
            asks=(
                Sql(
                    "SELECT sum(monthly_usd) AS monthly\n"
                    "FROM plan_usage_1d\n"
                    "WHERE {days}\n"
                    "GROUP BY day\n"
                    "ORDER BY day DESC\n"
                    "LIMIT 1"
                ),
            ),
            width=6,
        ),
        Panel(
            title="Alpaca and Yahoo, share of prices",
            description="Of the prices that went out, those of each source: of the day, and of the"
            " seven days that end with it.",
            kind="timeseries",
            unit="percent",
            asks=(
                Sql(
                    "SELECT toDateTime(day, 'UTC') AS time,\n"
                    "       sumIf(share_percent, source = 'alpaca') AS alpaca,\n"
                    "       sumIf(share_percent, source = 'yahoo') AS yahoo,\n"
                    "       sumIf(share_7d_percent, source = 'alpaca') AS alpaca_7d,\n"
                    "       sumIf(share_7d_percent, source = 'yahoo') AS yahoo_7d\n"
                    "FROM source_share_1d\n"
                    "WHERE {days}\n"
                    "GROUP BY day\n"
                    "ORDER BY day"
                ),
            ),
            width=12,
            height=8,
        ),
        Panel(
            title="Real-time and delayed users",
            description="Minutes that users spent with prices of Alpaca and of Yahoo, by the day.",
            kind="timeseries",
            unit="m",
            asks=(
                Sql(
                    "SELECT toDateTime(day, 'UTC') AS time,\n"
                    "       sum(real_time_minutes) AS real_time,\n"
                    "       sum(delayed_minutes) AS delayed\n"
                    "FROM usage_1d\n"
                    "WHERE {days}\n"
                    "GROUP BY day\n"
                    "ORDER BY day"
                ),
            ),
            width=12,
            height=8,
            stacked=True,
        ),
        Panel(
            title="Usage by hour",
            description="Connections and users that came in each hour of the day in New York, over"
            " the chosen time.",
            kind="barchart",
            unit="short",
            asks=(
                Sql(
                    "SELECT toString(toHour(connected_at, 'America/New_York')) AS hour,\n"
                    "       count() AS connections, uniqExact(user) AS users\n"
                    "FROM connections\n"
                    "WHERE $__timeFilter(connected_at)\n"
                    "GROUP BY hour\n"
                    "ORDER BY toUInt8(hour)"
                ),
            ),
            width=12,
            height=8,
            x="hour",
        ),
        Panel(
            title="Messages by hour",
            description="Valid ticks in each hour of the day in New York, over the chosen time.",
            kind="barchart",
            unit="short",
            asks=(
                Sql(
                    "SELECT toString(exchange_hour) AS hour, sum(messages) AS messages,\n"
                    "       sum(trades) AS trades\n"
                    "FROM activity_1h\n"
                    "WHERE {days}\n"
                    "GROUP BY exchange_hour\n"
                    "ORDER BY exchange_hour"
                ),
            ),
            width=12,
            height=8,
            x="hour",
        ),
        Panel(
            title="Most active symbols",
            description="By ticks in the chosen time; with connections that asked for the symbol by"
            " name, and the average change against the previous close, unsigned.",
            kind="table",
            unit="short",
            asks=(
                Sql(
                    "SELECT a.symbol AS symbol, a.messages AS messages,\n"
                    "       s.subscribers AS subscribers, a.change AS mean_change\n"
                    "FROM\n"
                    "(\n"
                    "    SELECT symbol, sum(messages) AS messages,\n"
                    "           avg(mean_change_percent) AS change\n"
                    "    FROM symbol_activity_1d\n"
                    "    WHERE {days}\n"
                    "    GROUP BY symbol\n"
                    ") AS a\n"
                    "LEFT JOIN\n"
                    "(\n"
                    "    SELECT symbol, sum(subscribers) AS subscribers\n"
                    "    FROM symbol_subscribers_1d\n"
                    "    WHERE {days}\n"
                    "    GROUP BY symbol\n"
                    ") AS s ON a.symbol = s.symbol\n"
                    "ORDER BY messages DESC\n"
                    "LIMIT 20"
                ),
            ),
            width=12,
            height=9,
            units={"symbol": "none", "mean_change": "percent"},
        ),
        Panel(
            title="Plan and cost",
            description="By day and feed: the plan, the stocks used and allowed, those that its"
            " limit kept out, and its price a month.",
            kind="table",
            unit="short",
            asks=(
                Sql(
                    "SELECT day, source, feed, plan, symbols, plan_symbols, used_percent,\n"
                    "       turned_away, monthly_usd\n"
                    "FROM plan_usage_1d\n"
                    "WHERE {days}\n"
                    "ORDER BY day DESC, source"
                ),
            ),
            width=12,
            height=9,
            units={"day": "dateTimeAsIso", "used_percent": "percent", "monthly_usd": "currencyUSD"},
            alerts=("AlpacaSymbolSubscriptionChanged",),
        ),
    ),
)
