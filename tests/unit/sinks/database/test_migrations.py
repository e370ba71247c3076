"""The numbered migrations of the database."""

from __future__ import annotations

from sinks.database.migrate import migrations


def test_every_migration_has_a_number_of_its_own() -> None:
    numbers = [migration.version for migration in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
