CREATE TABLE facts (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- The secret is sealed by a key of the token.
CREATE TABLE access_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_name TEXT NOT NULL,
    sealed_secret BLOB NOT NULL,
    created BIGINT NOT NULL,
    is_active BIGINT NOT NULL
);
