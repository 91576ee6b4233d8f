-- The table that requests are written to, and what the connector reads it by. Each row is a submission, and so is each
-- update of one; columns are called as the fields of a submission are, and others are ignored.
CREATE TABLE job_requests (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_type  text NOT NULL,
    payload   jsonb NOT NULL,
    job_queue text,
    priority  smallint CHECK (priority BETWEEN 0 AND 9)
);
CREATE PUBLICATION jobstream FOR TABLE job_requests WITH (publish = 'insert, update');
