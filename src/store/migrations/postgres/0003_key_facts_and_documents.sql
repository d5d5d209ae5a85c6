-- What the owner of a key says about it. Tags are a JSON object.
ALTER TABLE keys ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';
ALTER TABLE keys ADD COLUMN deletion_protection TEXT;
ALTER TABLE keys ADD COLUMN rotation_seconds BIGINT;
ALTER TABLE keys ADD COLUMN policy TEXT;

-- What is remembered of imported material; all NULL until some was imported.
ALTER TABLE keys ADD COLUMN material_check BYTEA;
ALTER TABLE keys ADD COLUMN material_expires BIGINT;
ALTER TABLE keys ADD COLUMN material_is_present BIGINT;

-- Documents by kind and name, each a JSON object.
CREATE TABLE documents (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, name)
);

-- Which document names which other, so that none is removed that another needs.
CREATE TABLE document_references (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_name TEXT NOT NULL,
    PRIMARY KEY (kind, name, target_kind, target_name),
    FOREIGN KEY (kind, name) REFERENCES documents (kind, name) ON DELETE CASCADE,
    FOREIGN KEY (target_kind, target_name) REFERENCES documents (kind, name)
);

CREATE INDEX document_references_by_target ON document_references (target_kind, target_name);
