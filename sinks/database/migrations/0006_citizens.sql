-- Citizens' reports, the cases they make, crews, who was sent where, what areas need, what people
-- decided; and apart from all that, sealed, what is known of citizens as persons.

-- The view `reports` shows them with their cases.
CREATE TABLE citizen_reports (
    id          text PRIMARY KEY,            -- keyed hash: the same however often it is sent
    area        text NOT NULL,
    service     text NOT NULL,
    lon         double precision NOT NULL,
    lat         double precision NOT NULL,
    description text NOT NULL,
    reported_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    channel     text NOT NULL,               -- mqtt, open311
    reporter    text NOT NULL,               -- pseudonym, or forgotten-… which nothing leads from
    reference   text NOT NULL,               -- the client's own number; '' once forgotten
    address     text,
    media_url   text,
    attributes  jsonb NOT NULL               -- code -> values
);
CREATE INDEX citizen_reports_by_time ON citizen_reports (reported_at);
CREATE INDEX citizen_reports_by_receipt ON citizen_reports USING brin (received_at);
CREATE INDEX citizen_reports_by_reporter ON citizen_reports (reporter);

CREATE TABLE cases (
    id                text NOT NULL,
    version           integer NOT NULL,      -- from 1
    state             text NOT NULL,         -- received … resolved, rejected, duplicate
    area              text NOT NULL,
    service           text NOT NULL,
    agency            text NOT NULL,
    priority          integer NOT NULL,      -- 1 urgent .. 4 low
    lon               double precision NOT NULL,
    lat               double precision NOT NULL,
    description       text NOT NULL,
    reports           integer NOT NULL,
    reporters         integer NOT NULL,
    weight            double precision NOT NULL,
    opened_at         timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    due_at            timestamptz NOT NULL,
    changed_by        text NOT NULL,
    note              text NOT NULL,
    latest_report     text,                  -- the report that made this version, if one did
    suggested_service text,
    confirmed_by      jsonb NOT NULL,        -- sensors and incidents
    breach            text NOT NULL,         -- of the target time: none, near, breached
    duplicate_of      text,
    UNIQUE (id, version)
);
CREATE INDEX cases_by_time ON cases (updated_at);
CREATE INDEX cases_open ON cases (updated_at)
    WHERE state NOT IN ('resolved', 'rejected', 'duplicate');
CREATE INDEX cases_by_report ON cases (latest_report) WHERE latest_report IS NOT NULL;

CREATE TABLE units (
    id        text NOT NULL,
    area      text NOT NULL,                 -- where it reports from
    state     text NOT NULL,                 -- off_duty, available, assigned, en_route, on_site
    skills    jsonb NOT NULL,
    lon       double precision NOT NULL,
    lat       double precision NOT NULL,
    shift_end timestamptz NOT NULL,
    capacity  double precision NOT NULL,
    load      double precision NOT NULL,
    at        timestamptz NOT NULL,
    task      text,
    UNIQUE (id, at)
);
-- The newest of each, never set back by a late one.
CREATE TABLE units_current (LIKE units, PRIMARY KEY (id)) WITH (fillfactor = 50);

CREATE TABLE allocations (
    id           text NOT NULL,
    version      integer NOT NULL,           -- from 1
    state        text NOT NULL,              -- proposed, accepted, … completed
    policy       text NOT NULL,
    task         text NOT NULL,              -- incident/<id>, case/<id>
    unit         text NOT NULL,
    area         text NOT NULL,
    priority     integer NOT NULL,
    proposed_at  timestamptz NOT NULL,
    arrival_at   timestamptz NOT NULL,
    route        jsonb NOT NULL,             -- segments in order
    reason       text NOT NULL,
    alternatives jsonb NOT NULL,             -- unit, arrival_at [epoch ms], extra_cost
    decided_by   text NOT NULL,
    decided_at   timestamptz NOT NULL,
    note         text NOT NULL,
    UNIQUE (id, version)
);
CREATE INDEX allocations_by_time ON allocations (decided_at);
CREATE INDEX allocations_by_task ON allocations (task);
CREATE INDEX allocations_open ON allocations (decided_at) WHERE state IN ('proposed', 'accepted');

CREATE TABLE demand (
    area           text NOT NULL,
    service        text NOT NULL,
    at             timestamptz NOT NULL,
    open_tasks     integer NOT NULL,
    weighted       double precision NOT NULL,
    arrivals_per_h double precision NOT NULL,
    expected       jsonb NOT NULL,           -- arrivals in each of the next hours
    expected_low   jsonb NOT NULL,           -- 80 % interval
    expected_high  jsonb NOT NULL,
    capacity_per_h double precision NOT NULL,
    pressure       double precision,         -- demand / capacity on shift; null without any
    UNIQUE (area, service, at)
);
CREATE TABLE demand_current (LIKE demand, PRIMARY KEY (area, service)) WITH (fillfactor = 50);

CREATE TABLE actions (
    id      text PRIMARY KEY,
    subject text NOT NULL,                   -- case/<id>, allocation/<id>, alert/<id>
    action  text NOT NULL,
    area    text NOT NULL,
    by      text NOT NULL,
    at      timestamptz NOT NULL,
    note    text NOT NULL,
    value   text
);
CREATE INDEX actions_by_time ON actions (at);
CREATE INDEX actions_by_subject ON actions (subject);

-- Personal data. `init` has made the schema; the writer gets in by private.store() only and reads
-- nothing, civicstream_private reads, nobody else does either.

CREATE TABLE private.sealed_records (
    report    text PRIMARY KEY,              -- that it came with
    pseudonym text NOT NULL,
    at        timestamptz NOT NULL,
    sealed    text NOT NULL                  -- opens with CIVICSTREAM_PRIVACY__KEY
);
CREATE INDEX sealed_records_by_person ON private.sealed_records (pseudonym);
CREATE INDEX sealed_records_by_time ON private.sealed_records (at);

-- Who was forgotten, when, by whom: the audit, and what keeps a record that is read from Kafka
-- once more from coming back. The person is only a hash of the pseudonym.
CREATE TABLE private.forgotten (
    person           bytea NOT NULL,         -- SHA-256 of the pseudonym
    until            timestamptz NOT NULL,   -- what came with reports up to here is forgotten
    by               text NOT NULL,
    at               timestamptz NOT NULL DEFAULT now(),
    sealed_erased    bigint NOT NULL,
    reports_detached bigint NOT NULL,
    letters_emptied  bigint NOT NULL,        -- dead letters of refused reports
    PRIMARY KEY (person, until)
);

CREATE FUNCTION private.is_forgotten(pseudonym text, came timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM private.forgotten f
        WHERE f.person = sha256(convert_to(pseudonym, 'UTF8')) AND f.until >= came)
$$;

-- Returns how many were new. Of two of one report the first stays.
CREATE FUNCTION private.store(
    reports text[], pseudonyms text[], came_ms bigint[], sealed text[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH stored AS (
        INSERT INTO private.sealed_records (report, pseudonym, at, sealed)
        SELECT new.report, new.pseudonym, to_timestamp(new.came_ms / 1000.0), new.sealed
        FROM unnest(reports, pseudonyms, came_ms, sealed)
            AS new (report, pseudonym, came_ms, sealed)
        WHERE NOT private.is_forgotten(new.pseudonym, to_timestamp(new.came_ms / 1000.0))
        ON CONFLICT (report) DO NOTHING RETURNING 1)
    SELECT count(*) FROM stored
$$;

-- A reporter that stands for nobody: another one for each report, so that no two of a person's
-- reports can be told to be the same person's.
CREATE FUNCTION private.nobody() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 'forgotten-' || replace(gen_random_uuid()::text, '-', '') $$;

-- Whose refused report a dead letter holds, as the gateway and the parts behind it write them.
CREATE FUNCTION private.person_of_letter(topic text, payload bytea) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        substring(topic FROM '/report/[^/]+/([0-9a-f]{32})$'),
        substring(encode(payload, 'escape') FROM '"reporter":"([0-9a-f]{32})"'))
$$;

-- Erases the sealed records of a person up to `until` and cuts the reports loose; safe to repeat.
CREATE FUNCTION private.forget(pseudonym text, until timestamptz, by_whom text)
RETURNS TABLE (sealed_erased bigint, reports_detached bigint, letters_emptied bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    erased bigint;
    detached bigint;
    emptied bigint;
BEGIN
    -- What is being written just now is waited for, later rows see what is noted below. In the
    -- order in which the sink writes the two.
    LOCK TABLE citizen_reports, dead_letters IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM private.sealed_records s
        WHERE s.pseudonym = forget.pseudonym AND s.at <= forget.until;
    GET DIAGNOSTICS erased = ROW_COUNT;
    UPDATE citizen_reports r
        SET reporter = private.nobody(), reference = '', address = NULL, media_url = NULL
        WHERE r.reporter = forget.pseudonym AND r.received_at <= forget.until;
    GET DIAGNOSTICS detached = ROW_COUNT;
    UPDATE dead_letters l SET payload = '', topic = 'forgotten'
        WHERE l.topic LIKE '%report%' AND l.received_at <= forget.until
        AND private.person_of_letter(l.topic, l.payload) = forget.pseudonym;
    GET DIAGNOSTICS emptied = ROW_COUNT;
    INSERT INTO private.forgotten AS f
        (person, until, by, sealed_erased, reports_detached, letters_emptied)
        VALUES (sha256(convert_to(forget.pseudonym, 'UTF8')), forget.until, forget.by_whom,
                erased, detached, emptied)
        ON CONFLICT ON CONSTRAINT forgotten_pkey DO UPDATE SET
            sealed_erased = f.sealed_erased + excluded.sealed_erased,
            reports_detached = f.reports_detached + excluded.reports_detached,
            letters_emptied = f.letters_emptied + excluded.letters_emptied;
    RETURN QUERY SELECT erased, detached, emptied;
END
$$;

CREATE FUNCTION private.detach_forgotten() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF private.is_forgotten(NEW.reporter, NEW.received_at) THEN
        NEW.reporter := private.nobody();
        NEW.reference := '';
        NEW.address := NULL;
        NEW.media_url := NULL;
    END IF;
    RETURN NEW;
END
$$;

-- A report that was still on its way when its reporter was forgotten.
CREATE TRIGGER detach_forgotten BEFORE INSERT ON citizen_reports
    FOR EACH ROW EXECUTE FUNCTION private.detach_forgotten();

CREATE FUNCTION private.empty_forgotten() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF private.is_forgotten(
        private.person_of_letter(NEW.topic, NEW.payload), NEW.received_at) THEN
        NEW.payload := '';
        NEW.topic := 'forgotten';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER empty_forgotten BEFORE INSERT ON dead_letters
    FOR EACH ROW WHEN (NEW.topic LIKE '%report%') EXECUTE FUNCTION private.empty_forgotten();

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA private FROM PUBLIC;

-- Retention as before, in other schemas too.

ALTER TABLE retention ADD COLUMN schema_name text;   -- null: that of the other tables

CREATE OR REPLACE FUNCTION apply_retention()
RETURNS TABLE (name text, chunks_dropped bigint, rows_deleted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    rule retention;
    extension_schema text := (
        SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'timescaledb');
    is_hypertable boolean;
    qualified text;
BEGIN
    FOR rule IN SELECT * FROM retention ORDER BY table_name LOOP
        name := rule.table_name;
        chunks_dropped := 0;
        rows_deleted := 0;
        is_hypertable := false;
        qualified := format(
            '%I.%I', coalesce(rule.schema_name, current_schema::text), rule.table_name);
        IF extension_schema IS NOT NULL THEN
            EXECUTE 'SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                     WHERE format(''%I.%I'', hypertable_schema, hypertable_name) = $1)'
                INTO is_hypertable USING qualified;
        END IF;
        IF is_hypertable THEN
            EXECUTE format('SELECT count(*) FROM %I.drop_chunks($1::regclass, older_than => $2)',
                           extension_schema)
                INTO chunks_dropped
                USING qualified, now() - make_interval(days => rule.keep_days);
        ELSE
            EXECUTE format('DELETE FROM %s WHERE %I < $1', qualified, rule.time_column)
                USING now() - make_interval(days => rule.keep_days);
            GET DIAGNOSTICS rows_deleted = ROW_COUNT;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
