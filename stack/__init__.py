"""The whole system on one machine with nothing preinstalled: servers and supervisor."""
