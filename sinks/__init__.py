"""Kafka to TimescaleDB, exactly once in effect."""
