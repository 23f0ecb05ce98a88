"""Rendered tables in a real kernel: that they load, and what they do to packets."""
