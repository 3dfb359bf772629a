"""The vocabulary every other package speaks: types, errors, datasets, encoders and measures."""

__version__ = "0.1.0"
