-- What came of the operators' commands. Its identity is the command: one that a router and its
-- successor both answered has one answer, and one row.

CREATE TABLE IF NOT EXISTS command_answers
(
    at_ns          Int64 EPHEMERAL,
    at             DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') COMMENT 'when the router looked at the command' CODEC(Delta, ZSTD(1)),
    command_offset Int64 COMMENT 'the command''s place: its offset in ops.commands' CODEC(Delta, ZSTD(1)),
    command        LowCardinality(String) COMMENT 'failover, hold or release' CODEC(ZSTD(1)),
    who            String COMMENT 'who asked: a person or a system' CODEC(ZSTD(1)),
    why            String COMMENT 'in words' CODEC(ZSTD(1)),
    outcome        LowCardinality(String) COMMENT 'done: it is so now; refused: nothing has changed' CODEC(ZSTD(1)),
    reason         LowCardinality(String) COMMENT 'why it was refused: too_old, source_down or not_held; empty where it was not' CODEC(ZSTD(1)),
    detail         String COMMENT 'the same in words, with the figures that decided' CODEC(ZSTD(1)),
    state          LowCardinality(String) COMMENT 'the router''s state when it looked' CODEC(ZSTD(1)),
    epoch          Int64 COMMENT 'the router''s epoch afterwards' CODEC(Delta, ZSTD(1)),
    topic          LowCardinality(String) COMMENT 'the row''s own place in the log: the topic' CODEC(ZSTD(1)),
    partition      Int32 COMMENT 'the partition' CODEC(ZSTD(1)),
    offset         Int64 COMMENT 'the offset' CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (at, command_offset)
PARTITION BY toYYYYMM(at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480
COMMENT 'What came of the operators'' commands to the router: done, or refused and why.';
