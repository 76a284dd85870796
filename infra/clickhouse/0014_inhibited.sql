-- What fired while a louder alert muted it, and nobody was told.

ALTER TABLE alerts ADD COLUMN IF NOT EXISTS inhibited_by Array(LowCardinality(String)) COMMENT 'alert_inhibited: the names of the alerts that muted it' CODEC(ZSTD(1)) AFTER description;
ALTER TABLE alerts COMMENT COLUMN event 'alert_fired, alert_inhibited, alert_resolved, alert_paged, alert_acknowledged, alert_judged';
