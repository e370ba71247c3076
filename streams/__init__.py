"""Faust workers: pure windowed calculations and one thin runtime."""
