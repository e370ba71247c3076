"""`civicstream up`: the whole system on one machine, started in order and kept running."""
