"""The tables, one file for each section of docs/semantics.md."""

from tests.truth.case import Case
from tests.truth.cases import (
    addresses,
    broken,
    ipblock,
    node,
    peers,
    policy_types,
    ports,
    protocols,
    protocols_explicit,
    selectors,
    tiers,
)

ALL: tuple[Case, ...] = (
    *policy_types.CASES,
    *selectors.CASES,
    *ipblock.CASES,
    *ports.CASES,
    *addresses.CASES,
    *node.CASES,
    *protocols.CASES,
    *tiers.CASES,
    *peers.CASES,
    *protocols_explicit.CASES,
    *broken.CASES,
)
