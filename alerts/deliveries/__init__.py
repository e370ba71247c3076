"""Alerts to other systems, and news of their cases to citizens: `civicstream deliver`."""
