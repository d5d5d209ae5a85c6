-- The account is part of the key of each signed row, so that several accounts need no new format. SQLite
-- cannot change a primary key: each table is replaced. Without an account, a row belongs to the store.
CREATE TEMP TABLE store_account AS
SELECT COALESCE((SELECT value FROM facts WHERE name = 'account'), '') AS account;

CREATE TABLE new_keys (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    spec TEXT NOT NULL,
    key_usage TEXT NOT NULL,
    origin TEXT NOT NULL,
    protection TEXT NOT NULL,
    instance TEXT,
    state TEXT NOT NULL,
    description TEXT NOT NULL,
    created BIGINT NOT NULL,
    delete_at BIGINT,
    tags TEXT NOT NULL DEFAULT '{}',
    deletion_protection TEXT,
    rotation_seconds BIGINT,
    policy TEXT,
    material_check BYTEA,
    material_expires BIGINT,
    material_is_present BIGINT,
    primary_version TEXT,
    row_mac BYTEA,
    PRIMARY KEY (id, account)
);
INSERT INTO new_keys
SELECT id, account, spec, key_usage, origin, protection, instance, state, description, created, delete_at, tags,
    deletion_protection, rotation_seconds, policy, material_check, material_expires, material_is_present,
    primary_version, row_mac
FROM keys, store_account;

CREATE TABLE new_key_versions (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    key_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    created BIGINT NOT NULL,
    is_live BIGINT NOT NULL,
    iv_bytes BIGINT NOT NULL DEFAULT 12,
    invocations BIGINT NOT NULL DEFAULT 0,
    row_mac BYTEA,
    PRIMARY KEY (id, account),
    UNIQUE (key_id, number, account),
    FOREIGN KEY (key_id, account) REFERENCES new_keys (id, account) ON DELETE CASCADE ON UPDATE CASCADE
);
INSERT INTO new_key_versions
SELECT id, account, key_id, number, created, is_live, iv_bytes, invocations, row_mac
FROM key_versions, store_account;

CREATE TABLE new_aliases (
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    key_id TEXT NOT NULL,
    created BIGINT NOT NULL,
    row_mac BYTEA,
    PRIMARY KEY (name, account),
    FOREIGN KEY (key_id, account) REFERENCES new_keys (id, account) ON DELETE CASCADE ON UPDATE CASCADE
);
INSERT INTO new_aliases SELECT name, account, key_id, created, row_mac FROM aliases, store_account;

DROP TABLE aliases;
DROP TABLE key_versions;
DROP TABLE keys;
ALTER TABLE new_keys RENAME TO keys;
ALTER TABLE new_key_versions RENAME TO key_versions;
ALTER TABLE new_aliases RENAME TO aliases;
CREATE INDEX aliases_by_key ON aliases (key_id);

CREATE TABLE new_key_tombstones (
    key_id TEXT NOT NULL,
    account TEXT NOT NULL,
    removed BIGINT NOT NULL,
    row_mac BYTEA,
    PRIMARY KEY (key_id, account)
);
INSERT INTO new_key_tombstones SELECT key_id, account, removed, row_mac FROM key_tombstones, store_account;
DROP TABLE key_tombstones;
ALTER TABLE new_key_tombstones RENAME TO key_tombstones;

-- Programs up to 0.1.0 stored the references between documents.
DROP TABLE document_references;
CREATE TABLE new_documents (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    body TEXT NOT NULL,
    row_mac BYTEA,
    PRIMARY KEY (name, kind, account)
);
INSERT INTO new_documents SELECT name, kind, account, body, row_mac FROM documents, store_account;
DROP TABLE documents;
ALTER TABLE new_documents RENAME TO documents;

CREATE TABLE new_principals (
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    policies TEXT NOT NULL,
    created BIGINT NOT NULL,
    row_mac BYTEA,
    PRIMARY KEY (name, account)
);
INSERT INTO new_principals SELECT name, account, policies, created, row_mac FROM principals, store_account;
DROP TABLE principals;
ALTER TABLE new_principals RENAME TO principals;

CREATE TABLE new_access_keys (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    principal TEXT NOT NULL,
    sealed_secret BYTEA NOT NULL,
    created BIGINT NOT NULL,
    is_active BIGINT NOT NULL,
    last_used BIGINT,
    session_name TEXT,
    session_policy TEXT,
    token_hash BYTEA,
    expires BIGINT,
    row_mac BYTEA,
    PRIMARY KEY (id, account)
);
INSERT INTO new_access_keys
SELECT id, account, principal, sealed_secret, created, is_active, last_used, session_name, session_policy,
    token_hash, expires, row_mac
FROM access_keys, store_account;
DROP TABLE access_keys;
ALTER TABLE new_access_keys RENAME TO access_keys;

CREATE TABLE new_approvals (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    body TEXT NOT NULL,
    row_mac BYTEA,
    PRIMARY KEY (id, account)
);
INSERT INTO new_approvals SELECT id, account, body, row_mac FROM approvals, store_account;
DROP TABLE approvals;
ALTER TABLE new_approvals RENAME TO approvals;

-- Entries that are not signed belong to the store.
CREATE TABLE new_facts (
    name TEXT NOT NULL,
    account TEXT NOT NULL DEFAULT '',
    value TEXT NOT NULL,
    row_mac BYTEA,
    PRIMARY KEY (name, account)
);
INSERT INTO new_facts
SELECT name, CASE WHEN row_mac IS NULL THEN '' ELSE account END, value, row_mac FROM facts, store_account;
DROP TABLE facts;
ALTER TABLE new_facts RENAME TO facts;

CREATE TABLE new_row_digests (
    scope TEXT NOT NULL,
    part BIGINT NOT NULL,
    account TEXT NOT NULL,
    revision BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    nonce BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    row_mac BYTEA NOT NULL,
    PRIMARY KEY (scope, part, account)
);
INSERT INTO new_row_digests
SELECT scope, part, account, revision, row_count, nonce, digest, row_mac FROM row_digests, store_account;
DROP TABLE row_digests;
ALTER TABLE new_row_digests RENAME TO row_digests;

DROP TABLE store_account;
