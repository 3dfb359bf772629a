"""Adapt an encoder to a corpus without labels; `run` has the steps, in their order."""
