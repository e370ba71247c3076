-- Every writer numbers its records per topic and partition, not gateways alone their frames.
CREATE TABLE records_seen (
    writer     text NOT NULL,
    epoch      bigint NOT NULL,       -- start of the writer [ms since 1970]
    topic      text NOT NULL,
    partition  integer NOT NULL,
    next_seq   bigint NOT NULL,       -- the number expected next
    records    bigint NOT NULL,
    events     bigint NOT NULL,       -- readings in frames, else records
    missing    bigint[] NOT NULL DEFAULT '{}',  -- first, last, first, last ...: never came
    repeated   bigint NOT NULL DEFAULT 0,       -- came again
    reordered  bigint NOT NULL DEFAULT 0,       -- came after a later one
    corrupt    bigint NOT NULL DEFAULT 0,       -- came, and could not be read
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (writer, epoch, topic, partition)
);

INSERT INTO records_seen (writer, epoch, topic, partition, next_seq, records, events, missing,
                          repeated, updated_at)
SELECT s.gateway, s.epoch, s.topic, s.partition, s.next_seq, s.frames, s.readings,
       coalesce((SELECT array_agg(bound ORDER BY g.first, bound)
                 FROM frame_gaps g, unnest(ARRAY[g.first, g.first + g.missing - 1]) bound
                 WHERE (g.gateway, g.epoch, g.topic, g.partition)
                     = (s.gateway, s.epoch, s.topic, s.partition)), '{}'),
       s.repeats, s.updated_at
FROM frames_seen s;

DELETE FROM retention WHERE table_name = 'frames_seen';
DROP TABLE frames_seen;

-- How many rows were ever inserted by the day they are of: what is there now can be held against
-- it for every day that retention has not reached.
CREATE TABLE rows_written (
    table_name text NOT NULL,
    day        date NOT NULL,
    rows       bigint NOT NULL,
    PRIMARY KEY (table_name, day)
);

-- Reports of processes that ended long ago, added up: their keys leave topic ledger.
CREATE TABLE ledger_settled (
    stage      text NOT NULL,
    instance   text NOT NULL,
    epoch      bigint NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stage, instance, epoch)
);

CREATE TABLE ledger_totals (
    stage     text NOT NULL,
    kind      text NOT NULL,
    received  bigint NOT NULL,
    accepted  bigint NOT NULL,
    rejected  bigint NOT NULL,
    duplicate bigint NOT NULL,
    corrected bigint NOT NULL,
    late      bigint NOT NULL,
    PRIMARY KEY (stage, kind)
);

-- Forget the numbers of writers of which no report is left and no record can come any more. With
-- the owner's rights: the writer has no DELETE.
CREATE FUNCTION forget_writers(live text[], older_than interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    WITH gone AS (
        DELETE FROM records_seen
        WHERE writer || '/' || epoch <> ALL (live)
          AND updated_at < now() - greatest(older_than, interval '31 days')
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

REVOKE EXECUTE ON FUNCTION forget_writers(text[], interval) FROM PUBLIC;
