"""Deliberate faults: each patch breaks reading, compiling or rendering in one subtle way, and must be caught.

A patch begins with what it does (``Fault:``) and which tests have to notice (``Tests:``, arguments of pytest).
``python -m tests.faults`` (or ``make faults``) applies each to a copy of the tree and runs its tests there.
"""
