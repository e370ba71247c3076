-- What the city is made of. `civicstream init` loads it from the city model; the sink adds
-- sensors that it meets before the model knows them, with null place and segment.

CREATE TABLE areas (
    id      text PRIMARY KEY,
    name    text NOT NULL,
    outline jsonb NOT NULL            -- GeoJSON geometry, WGS 84
);

CREATE TABLE segments (
    id            text PRIMARY KEY,
    area          text NOT NULL REFERENCES areas (id),
    corridor      text NOT NULL,
    position      integer NOT NULL,   -- order of travel along the corridor
    road_class    text NOT NULL CHECK (road_class IN ('freeway', 'street')),
    lanes         integer NOT NULL,
    length_m      double precision NOT NULL,
    free_flow_kmh double precision NOT NULL,
    line          jsonb NOT NULL,     -- GeoJSON geometry, WGS 84
    upstream      text[] NOT NULL,
    downstream    text[] NOT NULL
);

CREATE TABLE sensors (
    sensor_key bigint PRIMARY KEY,    -- hash of kind/area/sensor, see civicstream/kinds.py
    kind       text NOT NULL,
    area       text NOT NULL,         -- no reference: a sensor may report before its area is known
    sensor     text NOT NULL,
    segment    text REFERENCES segments (id),
    lane       integer,
    interval_s double precision,
    lon        double precision,
    lat        double precision,
    first_seen timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sensors_by_place ON sensors (kind, area, sensor);
CREATE INDEX sensors_by_segment ON sensors (segment) WHERE segment IS NOT NULL;
