"""Alerts in the Common Alerting Protocol, over HTTP."""
