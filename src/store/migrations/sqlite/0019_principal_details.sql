-- The id of a principal, and who may assume a role; JSON. NULL in rows of earlier programs.
ALTER TABLE principals ADD COLUMN details TEXT;
