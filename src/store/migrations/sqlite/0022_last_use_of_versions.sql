-- The beginning of the hour in which a version was last used. Not signed. NULL before the first use.
ALTER TABLE key_versions ADD COLUMN last_used BIGINT;
