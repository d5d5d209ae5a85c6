-- The length of the IVs of a version: 16 if the token makes them that long.
ALTER TABLE key_versions ADD COLUMN iv_bytes BIGINT NOT NULL DEFAULT 12;
