-- The point halfway along a segment, where what happens on it is marked.

CREATE FUNCTION halfway(line jsonb, axis integer) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    WITH points AS (
        SELECT n, (point ->> 0)::double precision AS x, (point ->> 1)::double precision AS y
        FROM jsonb_array_elements(line -> 'coordinates') WITH ORDINALITY AS p (point, n)
    ), steps AS (
        SELECT n, x, y, lag(x) OVER along AS x0, lag(y) OVER along AS y0,
            coalesce(sqrt((x - lag(x) OVER along) ^ 2 + (y - lag(y) OVER along) ^ 2), 0) AS length
        FROM points WINDOW along AS (ORDER BY n)
    ), done AS (
        SELECT *, sum(length) OVER (ORDER BY n) AS so_far, sum(length) OVER () / 2 AS half
        FROM steps
    )
    -- The piece that half the way ends in, by the share of it that is still to go.
    SELECT CASE axis
        WHEN 0 THEN x - coalesce((so_far - half) / nullif(length, 0) * (x - x0), 0)
        ELSE y - coalesce((so_far - half) / nullif(length, 0) * (y - y0), 0) END
    FROM done WHERE so_far >= half ORDER BY n LIMIT 1
$$;

ALTER TABLE segments
    ADD COLUMN middle_lon double precision GENERATED ALWAYS AS (halfway(line, 0)) STORED,
    ADD COLUMN middle_lat double precision GENERATED ALWAYS AS (halfway(line, 1)) STORED;
