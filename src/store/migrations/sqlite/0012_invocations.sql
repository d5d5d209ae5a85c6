-- How often a version may have encrypted: what was leased, so never too low.
ALTER TABLE key_versions ADD COLUMN invocations BIGINT NOT NULL DEFAULT 0;
