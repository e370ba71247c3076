-- Where Kafka's log was not the one that had been read before, or was deleted before it was read.

-- When Kafka appended the newest record read of a partition; null: not known. A log that goes on at
-- a lower offset with a later record is another log.
ALTER TABLE sink_offsets ADD COLUMN newest_at timestamptz;

CREATE TABLE kafka_gaps (
    topic        text NOT NULL,
    partition    integer NOT NULL,
    topic_id     uuid NOT NULL,           -- of the topic as it was found
    reason       text NOT NULL CHECK (reason IN ('topic_recreated', 'log_truncated', 'deleted')),
    first_offset bigint NOT NULL,         -- of the records in doubt
    next_offset  bigint,                  -- after the last of them; null: how many is not known
    read_from    bigint NOT NULL,         -- where reading went on
    sink         text NOT NULL,
    at           timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX kafka_gaps_by_time ON kafka_gaps (at);
