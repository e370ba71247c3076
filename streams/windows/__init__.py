"""Event-time windows and what is calculated of each; no clock, no I/O."""
