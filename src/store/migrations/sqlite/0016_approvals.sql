-- Requests for the approval of a dangerous operation, as JSON.
CREATE TABLE approvals (
    id TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);
