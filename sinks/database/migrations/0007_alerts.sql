-- Alerts as they were published, a row per version; frames that never came; and whom to tell of a
-- case. Nothing here is ever changed, the view alerts_current shows the newest of each.

CREATE TABLE alerts (
    id              text NOT NULL,
    version         integer NOT NULL,        -- from 1
    state           text NOT NULL,           -- active, cleared
    change          text NOT NULL,           -- what this version is about: raised … cleared
    rule            text NOT NULL,
    key             text NOT NULL,           -- at most one active alert of each
    severity        text NOT NULL,           -- minor, moderate, severe, extreme
    area            text NOT NULL,
    subject         text NOT NULL,           -- segment/<id>, incident/<id>, case/<id> …
    headline        text NOT NULL,
    started_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,    -- of the event this version follows from
    computed_at     timestamptz NOT NULL,
    description     text NOT NULL,
    value           double precision,
    threshold       double precision,
    lon             double precision,
    lat             double precision,
    cleared_at      timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    silenced_until  timestamptz,
    silenced_by     text,
    escalation      integer NOT NULL,        -- how often nobody acknowledged it in time
    parent          text,                    -- the alert that groups it with others
    children        integer NOT NULL,        -- of a group: how many alerts it stands for
    note            text NOT NULL,
    UNIQUE (id, version)
);
CREATE INDEX alerts_by_time ON alerts (updated_at);
CREATE INDEX alerts_active ON alerts (updated_at) WHERE state = 'active';
CREATE INDEX alerts_by_subject ON alerts (subject);
CREATE INDEX alerts_by_parent ON alerts (parent) WHERE parent IS NOT NULL;

-- Frames are numbered, so these are proofs of a loss.
CREATE TABLE frame_gaps (
    gateway   text NOT NULL,
    epoch     bigint NOT NULL,               -- start of the gateway [ms since 1970]
    topic     text NOT NULL,
    partition integer NOT NULL,
    first     bigint NOT NULL,               -- number of the first frame that is missing
    missing   bigint NOT NULL,
    at        timestamptz NOT NULL,          -- when it was found
    UNIQUE (gateway, epoch, topic, partition, first)
);
CREATE INDEX frame_gaps_by_time ON frame_gaps (at);

-- Cases that were found to be the same as another one point to it.
CREATE INDEX cases_by_original ON cases (duplicate_of) WHERE duplicate_of IS NOT NULL;

-- The state of a case in one version and in the one before; no row while the sink does not have
-- the version yet. For civicstream_private, which sees no table of cases.
CREATE FUNCTION private.case_states(case_id text, version integer)
RETURNS TABLE (state text, before text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT c.state, (SELECT b.state FROM cases b
        WHERE b.id = c.id AND b.version < c.version ORDER BY b.version DESC LIMIT 1)
    FROM cases c WHERE c.id = case_states.case_id AND c.version = case_states.version
$$;

-- The sealed records that came with the reports of a case, and of those that are the same.
CREATE FUNCTION private.people_of_case(case_id text, version integer)
RETURNS TABLE (report text, sealed text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    WITH RECURSIVE same (id) AS (
        SELECT people_of_case.case_id
        UNION
        SELECT c.id FROM cases c JOIN same ON c.duplicate_of = same.id
    )
    SELECT DISTINCT s.report, s.sealed
    FROM same JOIN cases c ON c.id = same.id
    JOIN private.sealed_records s ON s.report = c.latest_report
    WHERE c.id <> people_of_case.case_id OR c.version <= people_of_case.version
    ORDER BY s.report
$$;

REVOKE EXECUTE ON FUNCTION private.case_states(text, integer),
    private.people_of_case(text, integer) FROM PUBLIC;
