-- The city's clock where it is not the machine's (settings [clock]): retention and every query for
-- "the last hour" go by city_now(). `civicstream init` writes the row, or removes it.

CREATE TABLE city_clock (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    wall     timestamptz NOT NULL,               -- up to this time of the machine ...
    city     timestamptz NOT NULL,               -- ... it was this time in the city,
    speed    double precision NOT NULL CHECK (speed > 0),   -- so many times as fast since,
    CHECK (city <= wall)                         -- until it has caught up
);

CREATE FUNCTION city_now() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT coalesce((SELECT least(now(), city + greatest(now() - wall, interval '0') * speed) FROM city_clock), now())
$$;

CREATE OR REPLACE FUNCTION apply_retention()
RETURNS TABLE (name text, chunks_dropped bigint, rows_deleted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    rule retention;
    present timestamptz := city_now();
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
                USING qualified, present - make_interval(days => rule.keep_days);
        ELSE
            EXECUTE format('DELETE FROM %s WHERE %I < $1', qualified, rule.time_column)
                USING present - make_interval(days => rule.keep_days);
            GET DIAGNOSTICS rows_deleted = ROW_COUNT;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
