"""Alerts: rules over everything the city's streams say, and what becomes of each alert.

Nothing is imported here: the command line's options must not cost numpy.
"""
