-- The MAC of each row that decides something, over its table, key and columns. NULL: not signed.
ALTER TABLE keys ADD COLUMN row_mac BYTEA;
ALTER TABLE key_versions ADD COLUMN row_mac BYTEA;
ALTER TABLE aliases ADD COLUMN row_mac BYTEA;
ALTER TABLE key_tombstones ADD COLUMN row_mac BYTEA;
ALTER TABLE documents ADD COLUMN row_mac BYTEA;
ALTER TABLE principals ADD COLUMN row_mac BYTEA;
ALTER TABLE access_keys ADD COLUMN row_mac BYTEA;
ALTER TABLE facts ADD COLUMN row_mac BYTEA;
ALTER TABLE approvals ADD COLUMN row_mac BYTEA;

-- A keyed digest of the set of rows in each part of a scope, so that a missing or older row shows.
CREATE TABLE row_digests (
    scope TEXT NOT NULL,
    part BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    nonce BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    row_mac BYTEA NOT NULL,
    PRIMARY KEY (scope, part)
);

-- Rights that operators have taken away without the token. Not signed: a row only takes away.
CREATE TABLE revocations (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    policy TEXT,
    created BIGINT NOT NULL
);
