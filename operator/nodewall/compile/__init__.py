"""ClusterState to one NodeRuleSet per node, and what a change makes dirty. Pure."""

from nodewall.compile.node import compile_all, compile_node
from nodewall.compile.settings import Settings

__all__ = ["Settings", "compile_all", "compile_node"]
