-- Indexes for the history API. Of the results of a moment or an hour of all areas; the readings have
-- none like it, since there it would cost a third of the write speed, but of these rows there are
-- some hundreds a minute.
CREATE INDEX results_environment_by_time ON results_environment (window_start);
