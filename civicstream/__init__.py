"""CivicStream: the contract that every part shares, the command line and the embedded stack."""

__all__ = ["__version__"]

__version__ = "0.1.0"
