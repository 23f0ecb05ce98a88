"""Frozen values as they are meant: no nil, no defaults left to apply, no strings left to parse.

Everything that is undecided on the wire (absent against empty, defaults, spellings of an address) has been decided in
``nodewall.api`` before a value of this package exists. Nothing here reads a clock, a file or the network.
"""
