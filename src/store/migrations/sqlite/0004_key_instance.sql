-- The instance that the owner of a key named for it.
ALTER TABLE keys ADD COLUMN instance TEXT;
