"""The task `dispatch`: reports to cases, demand, and who is sent where."""
