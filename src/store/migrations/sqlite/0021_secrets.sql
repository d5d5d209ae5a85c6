-- Secrets without their values. The body is a JSON document with versions, labels and wrapped data keys.
CREATE TABLE secrets (
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    row_id TEXT NOT NULL UNIQUE,
    revision BIGINT NOT NULL,
    body TEXT NOT NULL,
    row_mac BLOB,
    PRIMARY KEY (name, account)
);

-- The value of each version, encrypted by its data key. Without the row of its secret, which has the
-- wrapped data key, it cannot be decrypted.
CREATE TABLE secret_versions (
    row_id TEXT NOT NULL,
    version_id TEXT NOT NULL,
    encrypted_value BLOB NOT NULL,
    PRIMARY KEY (row_id, version_id)
);

-- The secrets that were deleted.
CREATE TABLE secret_tombstones (
    row_id TEXT NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    removed BIGINT NOT NULL,
    row_mac BLOB,
    PRIMARY KEY (row_id, account)
);

-- 1 for a key of the gateway itself. NULL for the keys of the account.
ALTER TABLE keys ADD COLUMN is_internal BIGINT;
