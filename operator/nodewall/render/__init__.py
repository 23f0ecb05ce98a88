"""NodeRuleSet to nft objects, and to the smallest transaction between two of them. Pure.

``render`` draws the table, ``replace`` and ``diff`` say how to get there, ``Transaction.json`` is what libnftables
takes, and ``text`` is the same table for people.
"""

from nodewall.render.base import LINK_NAME
from nodewall.render.difference import diff
from nodewall.render.layout import render
from nodewall.render.settings import Guard, NewPodPolicy, Settings, Strict
from nodewall.render.table import Table
from nodewall.render.text import text
from nodewall.render.transaction import Transaction, replace

__all__ = [
    "LINK_NAME",
    "Guard",
    "NewPodPolicy",
    "Settings",
    "Strict",
    "Table",
    "Transaction",
    "diff",
    "render",
    "replace",
    "text",
]
