"""The HTTP front: operations page, live feed, history, decisions, Open311 and CAP."""
