-- What each key version answers to a fixed question, so that another key under its id is recognized. A row is signed
-- alone and counted by no digest: the program before this table neither writes nor removes its rows.
CREATE TABLE key_answers (
    version_id TEXT NOT NULL,
    account TEXT NOT NULL,
    key_id TEXT NOT NULL,
    answer TEXT NOT NULL,
    row_mac BLOB,
    PRIMARY KEY (version_id, account)
);
CREATE INDEX key_answers_by_key ON key_answers (key_id);
