-- Words are the API's own text, times are seconds since 1970 (UTC), truths are 0 or 1.
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    spec TEXT NOT NULL,
    key_usage TEXT NOT NULL,
    origin TEXT NOT NULL,
    protection TEXT NOT NULL,
    state TEXT NOT NULL,
    description TEXT NOT NULL,
    created BIGINT NOT NULL,
    delete_at BIGINT,
    primary_version TEXT,
    revision BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE key_versions (
    id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    created BIGINT NOT NULL,
    is_live BIGINT NOT NULL,
    UNIQUE (key_id, number)
);

CREATE TABLE aliases (
    name TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    created BIGINT NOT NULL
);

CREATE INDEX aliases_by_key ON aliases (key_id);

-- What was removed on purpose, so that nobody takes it for lost.
CREATE TABLE key_tombstones (
    key_id TEXT NOT NULL PRIMARY KEY,
    removed BIGINT NOT NULL
);
