"""The tables, one file for each section of docs/semantics.md."""

from tests.truth.case import Case
from tests.truth.cases import addresses, ipblock, node, policy_types, ports, protocols, selectors

ALL: tuple[Case, ...] = (
    *policy_types.CASES,
    *selectors.CASES,
    *ipblock.CASES,
    *ports.CASES,
    *addresses.CASES,
    *node.CASES,
    *protocols.CASES,
)
