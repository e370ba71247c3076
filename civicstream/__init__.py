"""CivicStream: the contract that every part shares."""

__all__ = ["__version__"]

__version__ = "0.1.0"
