-- Retention a slice at a time: each chunk that a transaction drops takes locks of its own, and
-- PostgreSQL has room for so many only (max_locks_per_transaction). One rule that fails must not
-- keep the others from being applied either. The caller repeats while `more` is true.

DROP FUNCTION apply_retention();

CREATE FUNCTION apply_retention(rule_name text, most_chunks integer, most_rows integer)
RETURNS TABLE (chunks_dropped bigint, rows_deleted bigint, more boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    rule retention;
    extension_schema text := (
        SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'timescaledb');
    holder text;
    qualified text;
    is_hypertable boolean := false;
    cut timestamptz;
    slice_end timestamptz;
BEGIN
    SELECT * INTO STRICT rule FROM retention WHERE table_name = rule_name;
    holder := coalesce(rule.schema_name, current_schema::text);
    qualified := format('%I.%I', holder, rule.table_name);
    cut := city_now() - make_interval(days => rule.keep_days);
    chunks_dropped := 0;
    rows_deleted := 0;
    more := false;
    IF extension_schema IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                 WHERE hypertable_schema = $1 AND hypertable_name = $2)'
            INTO is_hypertable USING holder, rule.table_name;
    END IF;
    IF is_hypertable THEN
        -- The end of the oldest chunks that are past as a whole.
        EXECUTE 'SELECT max(range_end) FROM (SELECT range_end FROM timescaledb_information.chunks
                 WHERE hypertable_schema = $1 AND hypertable_name = $2 AND range_end <= $3
                 ORDER BY range_end LIMIT $4) AS oldest'
            INTO slice_end USING holder, rule.table_name, cut, most_chunks;
        IF slice_end IS NOT NULL THEN
            EXECUTE format('SELECT count(*) FROM %I.drop_chunks($1::regclass, older_than => $2)',
                           extension_schema)
                INTO chunks_dropped USING qualified, slice_end;
        END IF;
        more := chunks_dropped >= most_chunks;
    ELSE
        EXECUTE format('DELETE FROM %1$s WHERE ctid = ANY (ARRAY('
                       'SELECT ctid FROM %1$s WHERE %2$I < $1 LIMIT $2))',
                       qualified, rule.time_column)
            USING cut, most_rows;
        GET DIAGNOSTICS rows_deleted = ROW_COUNT;
        more := rows_deleted >= most_rows;
    END IF;
    RETURN NEXT;
END
$$;

REVOKE EXECUTE ON FUNCTION apply_retention(text, integer, integer) FROM PUBLIC;
