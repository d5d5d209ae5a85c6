-- What operators have changed on the command line and the audit does not have yet; JSON.
CREATE TABLE operator_events (
    number BIGINT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);
