-- When containers will be full, free spaces of car parks ahead, and the tours of waste trucks.

CREATE TABLE bin_forecasts (
    sensor_key        bigint NOT NULL,
    area              text NOT NULL,
    sensor            text,                  -- null: the city model does not have it
    lon               double precision,
    lat               double precision,
    at                timestamptz NOT NULL,  -- of the reading it follows from
    level             double precision NOT NULL,  -- filled share 0..1, without the sensor's noise
    fill_per_h        double precision NOT NULL,
    emptied_at        timestamptz,
    predicted_full_at timestamptz,           -- null: not within two weeks
    full_low          timestamptz,           -- 80 % interval
    full_high         timestamptz,
    UNIQUE (sensor_key, at)
);
-- The newest of each, never set back by a late one.
CREATE TABLE bins_current (LIKE bin_forecasts, PRIMARY KEY (sensor_key)) WITH (fillfactor = 50);

CREATE TABLE parking_forecasts (
    sensor_key bigint NOT NULL,
    area       text NOT NULL,
    sensor     text,
    at         timestamptz NOT NULL,         -- of the readings it follows from
    total      double precision NOT NULL,    -- spaces
    free       double precision NOT NULL,
    ahead_min  double precision NOT NULL,
    expected   double precision NOT NULL,    -- free spaces so far ahead
    low        double precision NOT NULL,    -- 80 % interval
    high       double precision NOT NULL,
    UNIQUE (sensor_key, at)
);
CREATE TABLE parking_current (LIKE parking_forecasts, PRIMARY KEY (sensor_key))
    WITH (fillfactor = 50);

CREATE TABLE tours (
    id         text NOT NULL,
    version    integer NOT NULL,             -- from 1
    state      text NOT NULL,                -- planned, under_way, finished, withdrawn
    unit       text NOT NULL,
    area       text NOT NULL,
    planned_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    stops      jsonb NOT NULL,               -- in order: sensor, lon, lat, times [epoch ms], load
    capacity   double precision NOT NULL,    -- containers
    load       double precision NOT NULL,
    km         double precision NOT NULL,    -- of the whole way as planned
    km_driven  double precision NOT NULL,
    overflow_h double precision NOT NULL,    -- hours that its containers are full before emptied
    note       text NOT NULL,
    UNIQUE (id, version)
);
CREATE INDEX tours_by_time ON tours (updated_at);
CREATE INDEX tours_open ON tours (updated_at) WHERE state IN ('planned', 'under_way');
