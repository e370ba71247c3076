-- Final results, late readings and dead letters.

CREATE TABLE results_traffic (
    area                 text NOT NULL,
    segment              text NOT NULL,
    window_start         timestamptz NOT NULL,
    window_end           timestamptz NOT NULL,
    readings             integer NOT NULL,
    vehicles             double precision NOT NULL,
    flow_veh_h           double precision NOT NULL,
    time_mean_speed_kmh  double precision,
    space_mean_speed_kmh double precision,
    p85_speed_kmh        double precision,
    occupancy            double precision,
    density_veh_km_lane  double precision,
    level_of_service     text,
    travel_time_index    double precision,
    coverage             double precision NOT NULL,
    computed_at          timestamptz NOT NULL,
    UNIQUE (segment, window_start)
);

CREATE TABLE results_environment (
    area             text NOT NULL,
    kind             text NOT NULL,
    measure          text NOT NULL,
    window_start     timestamptz NOT NULL,
    window_end       timestamptz NOT NULL,
    window_readings  integer NOT NULL,  -- of the kind in the window, whatever they measured
    window_sensors   integer NOT NULL,
    readings         integer NOT NULL,  -- that have this measure
    sensors          integer NOT NULL,
    mean             double precision NOT NULL,
    min              double precision NOT NULL,
    max              double precision NOT NULL,
    p95              double precision NOT NULL,
    computed_at      timestamptz NOT NULL,
    UNIQUE (area, kind, measure, window_start)
);

-- Which readings came after their window was closed; their values are in readings_<kind>.
CREATE TABLE late_readings (
    sensor_key   bigint NOT NULL,
    ts           timestamptz NOT NULL,
    kind         text NOT NULL,
    ingested_at  timestamptz NOT NULL,
    closed_until timestamptz NOT NULL,  -- windows up to here were final when it came
    UNIQUE (sensor_key, ts)
);

CREATE TABLE dead_letters (
    source        text NOT NULL,        -- CloudEvents source and id: the same when sent again
    id            text NOT NULL,
    received_at   timestamptz NOT NULL,
    stage         text NOT NULL,
    instance      text,
    reason        text NOT NULL,
    detail        text NOT NULL,
    kind          text,
    count         integer NOT NULL,     -- readings rejected
    topic         text NOT NULL,
    partition     integer,
    "offset"      bigint,
    members       jsonb NOT NULL,       -- bad members of an array: [index, sentence]
    payload       bytea NOT NULL,
    payload_bytes bigint NOT NULL,      -- true size; payload may be cut
    UNIQUE (source, id)
);
CREATE INDEX dead_letters_by_time ON dead_letters (received_at);
