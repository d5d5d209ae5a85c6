-- The gateways of a cluster. Times are milliseconds since 1970, by the clock of the database unless the name
-- says otherwise. Not signed: a row grants nothing.
CREATE TABLE cluster_members (
    name TEXT NOT NULL PRIMARY KEY,
    program TEXT NOT NULL,
    started BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    own_clock BIGINT NOT NULL,
    revision BIGINT NOT NULL
);

-- What one gateway at a time does. The term rises with each new holder. Not signed.
CREATE TABLE cluster_leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    term BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

-- The nonces that a gateway of the cluster has accepted, until their requests are too old. Not signed.
CREATE TABLE used_nonces (
    nonce BIGINT NOT NULL PRIMARY KEY,
    expires BIGINT NOT NULL
);
CREATE INDEX used_nonces_by_expiry ON used_nonces (expires);

-- Which rows of the catalogue each change wrote, so that other processes read only those. Not signed: the
-- digests show whether a row is missing.
CREATE TABLE catalogue_changes (
    revision BIGINT NOT NULL,
    number BIGINT NOT NULL,
    table_name TEXT NOT NULL,
    row_key TEXT NOT NULL,
    PRIMARY KEY (revision, number)
);
