-- Records that no table would take, with all that is needed to look at them and to try again.

CREATE TABLE IF NOT EXISTS dead_letters
(
    topic           LowCardinality(String),
    partition       Int32,
    offset          Int64,
    error           String,
    key_base64      String EPHEMERAL,
    key             String DEFAULT base64Decode(key_base64),
    value_base64    String EPHEMERAL,
    value           String DEFAULT base64Decode(value_base64) CODEC(ZSTD(1)),
    set_aside_at    DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;
