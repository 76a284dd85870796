-- What every table and column holds, for whoever looks at the database and not at these files.

ALTER TABLE raw_ticks MODIFY COMMENT 'Every tick as it came off the wire.';
ALTER TABLE raw_ticks
    COMMENT COLUMN symbol 'the stock that it speaks of; empty where the bytes name none',
    COMMENT COLUMN source 'alpaca or yahoo',
    COMMENT COLUMN feed 'which of the vendor''s feeds: iex, sip, spark, chart',
    COMMENT COLUMN session_id 'the connection (Alpaca) or the poller''s run (Yahoo) that received it',
    COMMENT COLUMN session_seq 'its place within that session, from 1, without holes',
    COMMENT COLUMN received_at 'when the last byte of its frame or response was read',
    COMMENT COLUMN encoding 'json: raw is the vendor''s own JSON; msgpack, bytes: raw is base64 of the vendor''s bytes, and bytes is what could not be parsed',
    COMMENT COLUMN backfill 'the REST resource that it was fetched from afterwards; empty for what came live',
    COMMENT COLUMN gap_id 'the gap that it was fetched to fill; empty for what came live',
    COMMENT COLUMN raw 'json: the vendor''s bytes; otherwise base64 of them',
    COMMENT COLUMN raw_bytes 'the vendor''s bytes, whatever the encoding',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE valid_ticks MODIFY COMMENT 'Every tick that passed the rules, in one form for both sources; a column that a kind lacks holds 0, false or nothing.';
ALTER TABLE valid_ticks
    COMMENT COLUMN symbol 'the stock',
    COMMENT COLUMN source 'alpaca or yahoo',
    COMMENT COLUMN feed 'which of the vendor''s feeds: iex, sip, spark, chart',
    COMMENT COLUMN session_id 'the connection (Alpaca) or the poller''s run (Yahoo) that received it',
    COMMENT COLUMN session_seq 'its place within that session, from 1, without holes',
    COMMENT COLUMN market_time 'when it happened on the market, by the vendor; of a bar: its beginning',
    COMMENT COLUMN kind 'trade, quote, bar, last (the last sale as Yahoo tells it), status, luld, correction or cancel',
    COMMENT COLUMN price 'trade, last, cancel: US dollars a share',
    COMMENT COLUMN size 'trade, cancel: shares; may be a fraction',
    COMMENT COLUMN exchange 'trade, correction, cancel: where, as the vendor codes it',
    COMMENT COLUMN tape 'the consolidated tape: A, B or C',
    COMMENT COLUMN trade_id 'trade, cancel: unique within symbol, exchange, tape and day',
    COMMENT COLUMN conditions 'trade, quote: conditions, as the vendor codes them',
    COMMENT COLUMN bid_price 'quote: US dollars a share; 0: no such side',
    COMMENT COLUMN bid_size 'quote: shares',
    COMMENT COLUMN bid_exchange 'quote: where',
    COMMENT COLUMN ask_price 'quote: US dollars a share; 0: no such side',
    COMMENT COLUMN ask_size 'quote: shares',
    COMMENT COLUMN ask_exchange 'quote: where',
    COMMENT COLUMN interval 'bar: 1m, 5m or 1d',
    COMMENT COLUMN updated 'bar: whether late trades changed it',
    COMMENT COLUMN open 'bar: US dollars a share',
    COMMENT COLUMN high 'bar: US dollars a share',
    COMMENT COLUMN low 'bar: US dollars a share',
    COMMENT COLUMN close 'bar: US dollars a share',
    COMMENT COLUMN volume 'bar, last: shares, as the vendor counts them; never compare it across sources',
    COMMENT COLUMN trade_count 'bar: trades, where the vendor tells',
    COMMENT COLUMN vwap 'bar: US dollars a share, weighted by volume, where the vendor tells',
    COMMENT COLUMN previous_close 'last: US dollars a share, of the session before',
    COMMENT COLUMN day_high 'last: US dollars a share',
    COMMENT COLUMN day_low 'last: US dollars a share',
    COMMENT COLUMN currency 'last: of the price',
    COMMENT COLUMN status_code 'status: a halt or a resumption, as the vendor codes it',
    COMMENT COLUMN status_message 'status: the same in words',
    COMMENT COLUMN reason_code 'status: why, as the vendor codes it',
    COMMENT COLUMN reason_message 'status: the same in words',
    COMMENT COLUMN limit_up 'luld: the highest price allowed, US dollars a share',
    COMMENT COLUMN limit_down 'luld: the lowest price allowed, US dollars a share',
    COMMENT COLUMN indicator 'luld: as the vendor codes it',
    COMMENT COLUMN original_id 'correction: the trade_id of what was wrong',
    COMMENT COLUMN original_price 'correction: US dollars a share',
    COMMENT COLUMN original_size 'correction: shares',
    COMMENT COLUMN original_conditions 'correction: conditions',
    COMMENT COLUMN corrected_id 'correction: the trade_id from now on',
    COMMENT COLUMN corrected_price 'correction: US dollars a share',
    COMMENT COLUMN corrected_size 'correction: shares',
    COMMENT COLUMN corrected_conditions 'correction: conditions',
    COMMENT COLUMN action 'cancel: C cancelled, E entered in error',
    COMMENT COLUMN received_at 'when the last byte of its frame or response was read',
    COMMENT COLUMN gap_id 'the gap that it was fetched to fill; empty for what came live',
    COMMENT COLUMN raw_topic 'the place of the raw tick behind it: the topic',
    COMMENT COLUMN raw_partition 'the partition',
    COMMENT COLUMN raw_offset 'the offset',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE rejected_ticks MODIFY COMMENT 'Every tick that broke a rule, with its bytes.';
ALTER TABLE rejected_ticks
    COMMENT COLUMN symbol 'the stock',
    COMMENT COLUMN source 'alpaca or yahoo',
    COMMENT COLUMN feed 'which of the vendor''s feeds: iex, sip, spark, chart',
    COMMENT COLUMN session_id 'the connection (Alpaca) or the poller''s run (Yahoo) that received it',
    COMMENT COLUMN session_seq 'its place within that session, from 1, without holes',
    COMMENT COLUMN received_at 'when the last byte of its frame or response was read',
    COMMENT COLUMN reason 'the rule that was broken',
    COMMENT COLUMN detail 'what was found, and what was expected',
    COMMENT COLUMN gap_id 'the gap that it was fetched to fill; empty for what came live',
    COMMENT COLUMN encoding 'as in raw_ticks',
    COMMENT COLUMN raw 'json: the vendor''s bytes; otherwise base64 of them',
    COMMENT COLUMN raw_bytes 'the vendor''s bytes, whatever the encoding',
    COMMENT COLUMN raw_topic 'the place of the raw tick behind it: the topic',
    COMMENT COLUMN raw_partition 'the partition',
    COMMENT COLUMN raw_offset 'the offset',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE routed_prices MODIFY COMMENT 'Every price that went out; the same trade may do so again under another epoch.';
ALTER TABLE routed_prices
    COMMENT COLUMN symbol 'the stock',
    COMMENT COLUMN source 'alpaca or yahoo',
    COMMENT COLUMN feed 'which of the vendor''s feeds: iex, sip, spark, chart',
    COMMENT COLUMN session_id 'the connection (Alpaca) or the poller''s run (Yahoo) that received it',
    COMMENT COLUMN session_seq 'its place within that session, from 1, without holes',
    COMMENT COLUMN market_time 'when it was traded, by the vendor',
    COMMENT COLUMN price 'US dollars a share',
    COMMENT COLUMN previous_close 'US dollars a share: the close of the session before; NULL until a source has told it',
    COMMENT COLUMN change 'US dollars a share: price less previous_close',
    COMMENT COLUMN change_percent 'the same in percent of previous_close',
    COMMENT COLUMN is_real_time 'false: it came from the fallback, and is delayed',
    COMMENT COLUMN epoch 'the router''s epoch under which it was routed',
    COMMENT COLUMN received_at 'when the tick was received',
    COMMENT COLUMN routed_at 'when it was routed',
    COMMENT COLUMN raw_topic 'the place of the raw tick behind it: the topic',
    COMMENT COLUMN raw_partition 'the partition',
    COMMENT COLUMN raw_offset 'the offset',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE router_transitions MODIFY COMMENT 'Every change of the trusted source, as it was written; router_states has those that count.';
ALTER TABLE router_transitions
    COMMENT COLUMN epoch 'one more than that of the transition before',
    COMMENT COLUMN from_state 'the state left',
    COMMENT COLUMN to_state 'the state entered: PRIMARY_ACTIVE, FALLBACK_ACTIVE or BOTH_UNAVAILABLE',
    COMMENT COLUMN reason 'startup, timeout, disconnected, health, auth, manual, or recovered for every way back up',
    COMMENT COLUMN detail 'the same in words, with the figures that decided',
    COMMENT COLUMN detected_at 'when the cause had held for long enough to act on',
    COMMENT COLUMN switched_at 'from when on it is in force',
    COMMENT COLUMN by 'router, or the operator whose command it was',
    COMMENT COLUMN cause_offset 'the offset in sources.status of the last fact taken into account',
    COMMENT COLUMN command_offset 'the offset in ops.commands of the last command taken into account; -1: none',
    COMMENT COLUMN generation 'of the router that decided: a lower one than was seen before does not count',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE source_status MODIFY COMMENT 'The life of each source: what happened to its connection, and a heartbeat a second.';
ALTER TABLE source_status
    COMMENT COLUMN source 'alpaca or yahoo',
    COMMENT COLUMN at 'when it happened',
    COMMENT COLUMN event 'connected, authenticated, subscribed, disconnected, stopped, stalled, resumed, symbols_impaired, symbols_restored or heartbeat',
    COMMENT COLUMN feed 'which of the vendor''s feeds',
    COMMENT COLUMN session_id 'the connection (Alpaca) or the poller''s run (Yahoo)',
    COMMENT COLUMN symbols 'subscribed, stalled, resumed, symbols_*: a JSON list; heartbeat: how many',
    COMMENT COLUMN symbol_count 'subscribed, heartbeat: how many',
    COMMENT COLUMN reason 'disconnected: timeout, closed, error, auth, stalled, asked or shutdown; symbols_*: malformed, limit, unknown or no_previous_close',
    COMMENT COLUMN code 'disconnected, stopped: the vendor''s error code, the close code or the HTTP status',
    COMMENT COLUMN detail 'in words: the vendor''s or the system''s',
    COMMENT COLUMN state 'heartbeat: the state of the session',
    COMMENT COLUMN authenticated 'heartbeat: whether the vendor accepted our keys',
    COMMENT COLUMN messages 'heartbeat: data messages since the process began',
    COMMENT COLUMN last_message_at_ns 'heartbeat: nanoseconds since the epoch of the last data message',
    COMMENT COLUMN last_message_at 'the same as a time',
    COMMENT COLUMN since_ns 'stalled: nanoseconds since the epoch of the last data',
    COMMENT COLUMN since 'the same as a time',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE source_gaps MODIFY COMMENT 'The gap ledger: what happened to each gap; the view gaps has one row a gap.';
ALTER TABLE source_gaps
    COMMENT COLUMN gap_id 'names the gap; never used twice',
    COMMENT COLUMN at 'when this was written',
    COMMENT COLUMN event 'gap_opened, gap_ended (its bounds are known) or gap_closed (nothing more will be tried)',
    COMMENT COLUMN source 'whose ticks were missed',
    COMMENT COLUMN feed 'of which feed',
    COMMENT COLUMN cause 'disconnected, stalled, asked, restarted, shed or torn',
    COMMENT COLUMN symbols 'whose; empty for all that were followed',
    COMMENT COLUMN since 'nothing is missing before',
    COMMENT COLUMN until_ns 'nanoseconds since the epoch from which on nothing is missing',
    COMMENT COLUMN until 'the same as a time',
    COMMENT COLUMN shed 'how many ticks were received and given up, by kind',
    COMMENT COLUMN outcome 'gap_closed: filled, partial or unfillable',
    COMMENT COLUMN trades 'gap_closed: trades that were fetched',
    COMMENT COLUMN bars 'gap_closed: bars that were fetched',
    COMMENT COLUMN lost 'gap_closed: what no history gives back',
    COMMENT COLUMN detail 'in words',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE market_sessions MODIFY COMMENT 'The market''s day: each session as it began.';
ALTER TABLE market_sessions
    COMMENT COLUMN market 'XNYS; always for a simulated market that never closes',
    COMMENT COLUMN state 'pre, regular, post or closed',
    COMMENT COLUMN since 'when it began, by the calendar',
    COMMENT COLUMN until_ns 'nanoseconds since the epoch of its end, by the calendar',
    COMMENT COLUMN until 'the same as a time',
    COMMENT COLUMN at 'when this was written',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE commands MODIFY COMMENT 'What operators asked for.';
ALTER TABLE commands
    COMMENT COLUMN at 'when',
    COMMENT COLUMN command 'reconnect, reload_symbols, failover, hold or release',
    COMMENT COLUMN target 'whom it was for',
    COMMENT COLUMN to 'failover: the source asked for',
    COMMENT COLUMN who 'who asked: a person or a system',
    COMMENT COLUMN why 'in words',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE price_comparisons MODIFY COMMENT 'Both sources'' prices at the same moment of the market.';
ALTER TABLE price_comparisons
    COMMENT COLUMN symbol 'the stock',
    COMMENT COLUMN yahoo_time 'the moment that both prices are of',
    COMMENT COLUMN verdict 'consistent or inconsistent',
    COMMENT COLUMN alpaca_price 'US dollars a share: of the newest trade at or before that moment',
    COMMENT COLUMN alpaca_time 'when that trade was',
    COMMENT COLUMN alpaca_offset 'its offset in ticks.raw.alpaca, in the same partition',
    COMMENT COLUMN yahoo_price 'US dollars a share',
    COMMENT COLUMN delta_percent '100 * |alpaca - yahoo| / yahoo',
    COMMENT COLUMN compared_at 'when Yahoo''s tick was received',
    COMMENT COLUMN raw_topic 'the place of the raw tick behind it: the topic',
    COMMENT COLUMN raw_partition 'the partition',
    COMMENT COLUMN raw_offset 'the offset',
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset';

ALTER TABLE dead_letters MODIFY COMMENT 'Records that no table would take.';
ALTER TABLE dead_letters
    COMMENT COLUMN topic 'the row''s own place in the log: the topic',
    COMMENT COLUMN partition 'the partition',
    COMMENT COLUMN offset 'the offset',
    COMMENT COLUMN error 'why not',
    COMMENT COLUMN key 'the record''s key',
    COMMENT COLUMN value 'the record''s value, byte for byte',
    COMMENT COLUMN set_aside_at 'when';

ALTER TABLE followed_symbols MODIFY COMMENT 'What to follow, where SYMBOLS_SOURCE names this table: yours to fill.';
ALTER TABLE followed_symbols
    COMMENT COLUMN symbol 'the stock',
    COMMENT COLUMN priority 'the lowest number comes first',
    COMMENT COLUMN followed 'false: no longer';

ALTER TABLE symbol_breakers MODIFY COMMENT 'When a stock''s price was not believed, and what ended it.';
ALTER TABLE symbol_breakers
    COMMENT COLUMN source 'alpaca or yahoo: whose tick decided it';

ALTER TABLE symbol_quarantines MODIFY COMMENT 'When a stock''s prices were taken from Yahoo alone, and until when.';

ALTER TABLE hub_sessions MODIFY COMMENT 'Who came to the hub, what they asked for, and how they left; connections has one row each.';
ALTER TABLE hub_sessions
    COMMENT COLUMN encoding 'client_connected: json or messagepack';

ALTER TABLE hub_deliveries MODIFY COMMENT 'What reached the clients: a summary a minute and hub, and sampled acknowledgements.';
