"""The database: schema, migrations, roles, and what TimescaleDB adds."""
