"""Alerts to their receivers, and news of their cases to citizens: `civicstream deliver`."""
