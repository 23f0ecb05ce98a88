"""A direct reading of the policies: may this packet pass, and why.

Written to be obviously right rather than fast. It shares the model's values with the compiler and nothing else:
selectors, CIDRs and ports are matched here by code of its own, so that the two readings can be held against each other.
"""

from nodewall.evaluate.packet import AddressParty, NodeParty, Packet, Party, PodParty, Traffic, party_of_address
from nodewall.evaluate.question import ask, packets
from nodewall.evaluate.result import Explanation, Judgement, Step
from nodewall.evaluate.text import as_object, explain
from nodewall.evaluate.walk import evaluate

__all__ = [
    "AddressParty",
    "Explanation",
    "Judgement",
    "NodeParty",
    "Packet",
    "Party",
    "PodParty",
    "Step",
    "Traffic",
    "as_object",
    "ask",
    "evaluate",
    "explain",
    "packets",
    "party_of_address",
]
