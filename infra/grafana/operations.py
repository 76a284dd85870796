"""Operations: is it working now?"""

from infra.grafana.board import WAY, Board, Panel, Prom, Sql, bound, falling, objective, rising

_STATES = ("Connecting", "Authenticating", "Connected", "Error")

BOARD = Board(
    name="operations",
    title="twinfeed / Operations",
    description="Is it working now? For whoever is on call.",
    refresh="5s",
    since="now-1h",
    panels=(
        Panel(
            title="Alpaca connection",
            description="The state of the stream from Alpaca. Anything but Connected for a minute"
            " pages; prices then come from Yahoo, delayed.",
            services=("alpaca",),
            kind="stat",
            unit="none",
            asks=(
                Prom(
                    " + ".join(
                        f'{n} * max(alpaca_connection_status{{state="{state}"}})'
                        for n, state in enumerate(_STATES, 1)
                    ),
                    instant=True,
                ),
            ),
            width=4,
            words={
                0: ("Disconnected", "red"),
                1: ("Connecting", "orange"),
                2: ("Authenticating", "orange"),
                3: ("Connected", "green"),
                4: ("Error", "red"),
            },
            alerts=("AlpacaDisconnected", "AlpacaDisconnectedProlonged", "AlpacaNoMessages"),
        ),
        Panel(
            title="Alpaca authentication",
            description="Whether Alpaca took the keys. After five refusals in a row nothing more is"
            " tried with them.",
            services=("alpaca",),
            kind="stat",
            unit="none",
            asks=(Prom("max(alpaca_authentication_status)", instant=True),),
            width=4,
            words={0: ("Not authenticated", "red"), 1: ("Authenticated", "green")},
            alerts=("AlpacaAuthFailure",),
        ),
        Panel(
            title="Alpaca uptime, 7 days",
            description="The share of the last seven days in which Alpaca was connected and"
            " authenticated. Green is the service level.",
            kind="stat",
            unit="percent",
            asks=(Prom("100 * avg_over_time(alpaca:connected:bool[7d])", instant=True),),
            width=4,
            steps=falling(objective("alpaca-uptime"), objective("alpaca-uptime") - 2),
            alerts=("AlpacaUptimeBurn",),
        ),
        Panel(
            title="Router state",
            description="Whose prices go out: Alpaca's (primary), Yahoo's (fallback), nobody's.",
            services=("route",),
            kind="stat",
            unit="none",
            asks=(Prom("datasource_router:state:code", instant=True),),
            width=4,
            words={
                0: ("PRIMARY_ACTIVE", "green"),
                1: ("FALLBACK_ACTIVE", "orange"),
                2: ("BOTH_UNAVAILABLE", "red"),
            },
            alerts=(
                "AlpacaBothSourcesUnavailable",
                "AlpacaRouterStateChange",
                "AlpacaRouterStateInvalid",
            ),
        ),
        Panel(
            title="Router state since",
            description="For how long the router has been in its state, by the log of its"
            " transitions.",
            kind="stat",
            unit="s",
            asks=(
                Sql(
                    "SELECT seconds\n"
                    "FROM router_states\n"
                    "WHERE until IS NULL\n"
                    "ORDER BY epoch DESC\n"
                    "LIMIT 1"
                ),
            ),
            width=4,
        ),
        Panel(
            title="Connected clients",
            description="Open SignalR connections, by the address that they came in at.",
            services=("hub",),
            kind="stat",
            unit="short",
            asks=(Prom("signalr_total_connections", "{{hub}}", instant=True),),
            width=4,
        ),
        Panel(
            title="Active symbols",
            description="Symbols subscribed at Alpaca, and the limit of the plan.",
            kind="stat",
            unit="short",
            asks=(
                Prom("alpaca_subscribed_symbols_count", "subscribed", instant=True),
                Prom("max(alpaca_symbols_limit)", "limit", instant=True),
            ),
            alerts=("AlpacaSymbolSubscriptionChanged",),
        ),
        Panel(
            title="Message rate",
            description="Messages a second from Alpaca, all types together.",
            services=("alpaca",),
            kind="stat",
            unit="cps",
            asks=(Prom("sum(type:alpaca_messages_received:rate1m)"),),
            alerts=("AlpacaNoMessages",),
        ),
        Panel(
            title="Message rate, trend",
            description="The last minute's rate against that of an hour before; empty where there"
            " was none then.",
            kind="stat",
            unit="percentunit",
            asks=(
                Prom(
                    "sum(type:alpaca_messages_received:rate1m)"
                    " / (sum(type:alpaca_messages_received:rate1m offset 1h) > 0) - 1",
                    instant=True,
                ),
            ),
        ),
        Panel(
            title="Time since last failover",
            description="Empty until the first one.",
            services=("route",),
            kind="stat",
            unit="s",
            asks=(Prom("time() - datasource_router_last_failover_timestamp", instant=True),),
            width=3,
        ),
        Panel(
            title="Failovers, 24 hours",
            description="How often prices had to be taken from Yahoo within a day.",
            kind="stat",
            unit="short",
            asks=(Prom("round(datasource_router:failovers:increase1d)", instant=True),),
            width=3,
            steps=rising(
                bound("AlpacaFailoverDailyBudgetExceeded"), bound("AlpacaFailoverDailyCritical")
            ),
            alerts=("AlpacaFailoverDailyBudgetExceeded", "AlpacaFailoverDailyCritical"),
        ),
        Panel(
            title="Message rate by type",
            description="Messages a second from Alpaca: trades, quotes, bars, control.",
            services=("alpaca",),
            kind="timeseries",
            unit="cps",
            asks=(Prom("sum by (type) (rate(alpaca_messages_received_total[5m]))", "{{type}}"),),
            width=12,
            height=8,
            alerts=("AlpacaNoMessages",),
        ),
        Panel(
            title="Alerts that fire",
            description="What is wrong now; the page of alerts says what each means.",
            kind="table",
            unit="none",
            asks=(
                Prom(
                    "max by (alertname, severity)"
                    ' (ALERTS{alertstate="firing", alertname!="Watchdog"})',
                    instant=True,
                ),
            ),
            width=12,
            height=8,
        ),
        Panel(
            title="Active symbols, latest",
            description="Of each symbol that went out in the chosen time: its last price, its"
            " change against the previous close, the shares traded on Alpaca's feed, its age and"
            " source.",
            services=WAY,
            kind="table",
            unit="none",
            asks=(
                Sql(
                    "SELECT p.symbol AS symbol, p.price AS price,\n"
                    "       p.change_percent AS change_percent, v.volume AS volume,\n"
                    "       p.age AS age, p.source AS source\n"
                    "FROM\n"
                    "(\n"
                    "    SELECT symbol, argMax(price, routed_at) AS price,\n"
                    "           argMax(change_percent, routed_at) AS change_percent,\n"
                    "           dateDiff('second', max(market_time), now64(9, 'UTC')) AS age,\n"
                    "           argMax(source, routed_at) AS source\n"
                    "    FROM routed_prices FINAL\n"
                    "    WHERE $__timeFilter(market_time)\n"
                    "    GROUP BY symbol\n"
                    ") AS p\n"
                    "LEFT JOIN\n"
                    "(\n"
                    "    SELECT symbol, sum(size) AS volume\n"
                    "    FROM trades\n"
                    "    WHERE $__timeFilter(market_time)\n"
                    "    GROUP BY symbol\n"
                    ") AS v ON p.symbol = v.symbol\n"
                    "ORDER BY volume DESC\n"
                    "LIMIT 200"
                ),
            ),
            width=24,
            height=10,
            units={
                "price": "currencyUSD",
                "change_percent": "percent",
                "volume": "short",
                "age": "s",
            },
        ),
    ),
)
