"""What the controller writes of a cluster, and what an agent reads of it: everything takes the way over JSON."""

from collections.abc import Mapping

import msgspec

from nodewall.agent import grouping
from nodewall.agent.grouping import Gathering, Known
from nodewall.agent.reading import reader
from nodewall.api import peergroup, ruleset
from nodewall.compile import Compiler
from nodewall.model.ruleset import NodeRuleSet

REVISION = 7


def written(compiler: Compiler) -> Known:
    """The PeerGroups of a compiler that has just begun, as its nodes' agents know them."""
    documents = [
        peergroup.document(peergroup.name(part.key), peergroup.encode_part(part, REVISION)[1])
        for part in compiler.parts()
    ]
    items = [grouping.project(msgspec.Raw(msgspec.json.encode(each)))[1] for each in documents]
    return grouping.known(REVISION, 0, items)


def received(compiler: Compiler, node: str, known: Known) -> NodeRuleSet:
    """The rule set of a node, whole."""
    body = msgspec.json.encode(ruleset.document(compiler.ruleset(node)))
    return Gathering().whole(reader(node)(body), known).content


def all_received(compiler: Compiler) -> Mapping[str, NodeRuleSet]:
    """Those of all nodes."""
    known = written(compiler)
    return {node: received(compiler, node, known) for node in compiler.nodes}
