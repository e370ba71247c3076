"""The history API: what happened, from the database, as JSON, CSV, GeoJSON and Arrow."""
