"""Demand: what each area needs of each service, now and over the next hours."""
