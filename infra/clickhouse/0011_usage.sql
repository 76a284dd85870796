-- Who used the prices, and whether they were real-time or delayed.

CREATE OR REPLACE VIEW connections
(
    connection_id String                 COMMENT 'the connection; never used twice',
    hub           LowCardinality(String) COMMENT 'the address that it came in at: market-data or dashboard',
    user          LowCardinality(String) COMMENT 'by the token; empty: anybody',
    encoding      LowCardinality(String) COMMENT 'json or messagepack',
    connected_at  DateTime64(9, 'UTC')   COMMENT 'when it came',
    left_at       Nullable(DateTime64(9, 'UTC')) COMMENT 'when it ended; NULL: it is still there, or the hub died with it',
    seconds       Float64                COMMENT 'how long it was there; until now where it is',
    reason        LowCardinality(String) COMMENT 'why it ended: left, silent, too_slow, unfit or restart',
    updates       Int64                  COMMENT 'prices that it was sent, told at its end'
)
AS
SELECT connection_id, any(s.hub) AS hub, any(s.user) AS user, max(s.encoding) AS encoding,
       min(coalesce(s.connected_at, s.at)) AS connected_at, nullIf(maxIf(s.at, s.event = 'client_left'), toDateTime64(0, 9, 'UTC')) AS left_at,
       (toUnixTimestamp64Nano(coalesce(left_at, now64(9, 'UTC'))) - toUnixTimestamp64Nano(connected_at)) / 1e9 AS seconds,
       max(s.reason) AS reason, max(s.updates) AS updates
FROM (SELECT *, connected_at FROM hub_sessions FINAL) AS s
GROUP BY connection_id
COMMENT 'One row a client''s connection to the hub.';

CREATE OR REPLACE VIEW usage_1d
(
    day                 Date                   COMMENT 'the day in New York',
    hub                 LowCardinality(String) COMMENT 'market-data or dashboard',
    connections         UInt64                 COMMENT 'connections that were there on the day',
    users               UInt64                 COMMENT 'users by their tokens; those without one count as one',
    minutes             Float64                COMMENT 'minutes that connections were there, added up',
    real_time_minutes   Float64                COMMENT 'of them: with Alpaca''s prices',
    delayed_minutes     Float64                COMMENT 'of them: with Yahoo''s',
    unavailable_minutes Float64                COMMENT 'of them: with neither'
)
AS
SELECT day, hub, uniqExact(connection_id) AS connections, uniqExact(user) AS users,
       sum(present) / 60 AS minutes, sumIf(shared, state = 'PRIMARY_ACTIVE') / 60 AS real_time_minutes,
       sumIf(shared, state = 'FALLBACK_ACTIVE') / 60 AS delayed_minutes, sumIf(shared, state = 'BOTH_UNAVAILABLE') / 60 AS unavailable_minutes
FROM
(
    SELECT c.day AS day, c.hub AS hub, c.connection_id AS connection_id, c.user AS user, r.state AS state,
           if(r.state = '', (c.until_ns - c.since_ns) / 1e9, 0) AS present,
           greatest(0, least(c.until_ns, r.until_ns) - greatest(c.since_ns, r.since_ns)) / 1e9 AS shared
    FROM
    (
        SELECT hub, connection_id, user, day,
               greatest(toUnixTimestamp64Nano(connected_at), toUnixTimestamp64Nano(toDateTime64(day, 9, 'America/New_York'))) AS since_ns,
               least(toUnixTimestamp64Nano(ended), toUnixTimestamp64Nano(toDateTime64(day + 1, 9, 'America/New_York'))) AS until_ns
        FROM (SELECT *, coalesce(left_at, now64(9, 'UTC')) AS ended FROM connections)
        ARRAY JOIN arrayMap(n -> toDate(connected_at, 'America/New_York') + n, range(toUInt32(1 + greatest(0, toDate(ended, 'America/New_York') - toDate(connected_at, 'America/New_York'))))) AS day
    ) AS c
    CROSS JOIN
    (
        SELECT state, toUnixTimestamp64Nano(since) AS since_ns, toUnixTimestamp64Nano(coalesce(until, now64(9, 'UTC'))) AS until_ns FROM router_states
        UNION ALL
        -- whoever is here is present, whatever the router's state
        SELECT '', 0, 0
    ) AS r
)
GROUP BY day, hub
COMMENT 'How much the hub was used, by the day, and whether with real-time or delayed prices.';

CREATE OR REPLACE VIEW symbol_subscribers_1d
(
    day         Date                   COMMENT 'the day in New York',
    symbol      LowCardinality(String) COMMENT 'the stock; empty: asked for all of them',
    subscribers UInt64                 COMMENT 'connections that asked for it on that day',
    users       UInt64                 COMMENT 'users by their tokens; those without one count as one'
)
AS
SELECT toDate(at, 'America/New_York') AS day, arrayJoin(if(empty(symbols), [''], symbols)) AS symbol, uniqExact(connection_id) AS subscribers, uniqExact(user) AS users
FROM hub_sessions FINAL
PREWHERE event = 'client_subscribed'
GROUP BY day, symbol
COMMENT 'How many asked for each stock, by the day.';
