-- Incidents, forecasts, sensor health and anomalies, as they were published. All but forecasts are
-- histories of versions: nothing is ever changed, the views ..._current show the newest.

CREATE TABLE incidents (
    id                 text NOT NULL,
    version            integer NOT NULL,     -- from 1
    state              text NOT NULL,        -- suspected, confirmed, clearing, cleared
    algorithm          text NOT NULL,
    area               text NOT NULL,
    corridor           text NOT NULL,
    segment            text NOT NULL,        -- whose capacity is lost, as far as the evidence tells
    upstream_segment   text NOT NULL,        -- the detectors whose readings show it
    downstream_segment text NOT NULL,
    position           double precision NOT NULL,  -- share of the way between the two, 0..1
    severity           double precision NOT NULL,  -- share of the capacity lost, 0..1
    confidence         double precision NOT NULL,
    estimated_start    timestamptz NOT NULL,
    first_evidence     timestamptz NOT NULL,
    last_evidence      timestamptz NOT NULL,
    delay_veh_h        double precision NOT NULL,  -- vehicle-hours lost so far
    queue_m            double precision NOT NULL,
    window_end         timestamptz NOT NULL,       -- of the window this version follows from
    computed_at        timestamptz NOT NULL,
    UNIQUE (id, version)
);
CREATE INDEX incidents_by_time ON incidents (window_end);
-- An open incident gets a version every few minutes, so the open ones are the newest in here.
CREATE INDEX incidents_not_cleared ON incidents (window_end) WHERE state <> 'cleared';

CREATE TABLE forecasts (
    area            text NOT NULL,
    segment         text NOT NULL,
    made_at         timestamptz NOT NULL,    -- end of the newest window it knows
    target          timestamptz NOT NULL,    -- made_at + horizon
    horizon_min     integer NOT NULL,
    speed_kmh       double precision,
    speed_low_kmh   double precision,        -- 80 % interval
    speed_high_kmh  double precision,
    flow_veh_h      double precision,
    flow_low_veh_h  double precision,
    flow_high_veh_h double precision,
    computed_at     timestamptz NOT NULL,
    UNIQUE (segment, made_at, horizon_min)
);
-- For the first and last of them, without which the views of accuracy would read all results.
CREATE INDEX forecasts_by_time ON forecasts (made_at);

CREATE TABLE sensor_health (
    sensor_key  bigint NOT NULL,
    kind        text NOT NULL,
    area        text NOT NULL,
    sensor      text,                        -- null: see the table sensors
    health      text NOT NULL,               -- ok, or what is wrong
    reason      text NOT NULL,
    since       timestamptz NOT NULL,
    before      text NOT NULL,               -- its health until then
    window_end  timestamptz NOT NULL,        -- of the window this change follows from
    computed_at timestamptz NOT NULL,
    UNIQUE (sensor_key, window_end)
);
CREATE INDEX sensor_health_by_time ON sensor_health (window_end);
CREATE INDEX sensor_health_not_ok ON sensor_health (sensor_key, window_end) WHERE health <> 'ok';

CREATE TABLE anomalies (
    id          text NOT NULL,
    version     integer NOT NULL,            -- from 1
    state       text NOT NULL,               -- open, closed
    kind        text NOT NULL,
    area        text NOT NULL,
    sensor_key  bigint NOT NULL,
    sensor      text,                        -- null: see the table sensors
    measure     text NOT NULL,
    score       double precision NOT NULL,   -- highest so far, 0..1
    value       double precision NOT NULL,
    expected    double precision NOT NULL,
    low         double precision NOT NULL,   -- 98 % interval of what is usual
    high        double precision NOT NULL,
    started_at  timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    window_end  timestamptz NOT NULL,
    computed_at timestamptz NOT NULL,
    UNIQUE (id, version)
);
CREATE INDEX anomalies_by_time ON anomalies (window_end);
CREATE INDEX anomalies_open ON anomalies (window_end) WHERE state = 'open';
