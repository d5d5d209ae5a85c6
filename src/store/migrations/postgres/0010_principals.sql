-- Whom AccessKeys belong to: root, user/<name>, role/<name>. Policies are a JSON array.
CREATE TABLE principals (
    name TEXT NOT NULL PRIMARY KEY,
    policies TEXT NOT NULL,
    created BIGINT NOT NULL
);

-- Until now every user had all rights.
INSERT INTO principals (name, policies, created)
SELECT 'user/' || user_name, '[{"name":"AliyunKMSFullAccess"}]', MIN(created)
FROM access_keys GROUP BY user_name;

ALTER TABLE access_keys RENAME COLUMN user_name TO principal;
UPDATE access_keys SET principal = 'user/' || principal;

-- The hour in which it was last used.
ALTER TABLE access_keys ADD COLUMN last_used BIGINT;

-- Temporary credentials: NULL for lasting ones.
ALTER TABLE access_keys ADD COLUMN session_name TEXT;
ALTER TABLE access_keys ADD COLUMN session_policy TEXT;
ALTER TABLE access_keys ADD COLUMN token_hash BYTEA;
ALTER TABLE access_keys ADD COLUMN expires BIGINT;
