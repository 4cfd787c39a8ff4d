"""The flight recorder for a desktop that VideoDB watches."""

__version__ = "0.1.0"
