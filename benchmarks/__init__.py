"""Measurements against peers and limits, in the same run."""
