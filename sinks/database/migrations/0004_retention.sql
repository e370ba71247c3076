-- How long rows are kept. `civicstream init` fills `retention` from the settings; the sink calls
-- apply_retention() now and then. It runs with the owner's rights, so that the writer needs
-- neither DELETE nor ownership, and takes no argument, so that it cannot be asked for more.

CREATE TABLE retention (
    table_name  text PRIMARY KEY,
    time_column text NOT NULL,
    keep_days   integer NOT NULL CHECK (keep_days > 0)
);

CREATE FUNCTION apply_retention()
RETURNS TABLE (name text, chunks_dropped bigint, rows_deleted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    rule retention;
    extension_schema text := (
        SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'timescaledb');
    is_hypertable boolean;
BEGIN
    FOR rule IN SELECT * FROM retention ORDER BY table_name LOOP
        name := rule.table_name;
        chunks_dropped := 0;
        rows_deleted := 0;
        is_hypertable := false;
        IF extension_schema IS NOT NULL THEN
            EXECUTE 'SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                     WHERE hypertable_schema = current_schema AND hypertable_name = $1)'
                INTO is_hypertable USING rule.table_name;
        END IF;
        IF is_hypertable THEN
            EXECUTE format('SELECT count(*) FROM %I.drop_chunks($1::regclass, older_than => $2)',
                           extension_schema)
                INTO chunks_dropped
                USING quote_ident(rule.table_name), now() - make_interval(days => rule.keep_days);
        ELSE
            EXECUTE format('DELETE FROM %I WHERE %I < $1', rule.table_name, rule.time_column)
                USING now() - make_interval(days => rule.keep_days);
            GET DIAGNOSTICS rows_deleted = ROW_COUNT;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION apply_retention() FROM PUBLIC;
