"""Forecasts of speed and flow, learned online. The method: docs/traffic.md."""
