"""ClusterState to one NodeRuleSet per node, and what a change makes dirty. Pure."""

from nodewall.compile.changes import Change, Dirty, Input, Reason
from nodewall.compile.incremental import Compiler
from nodewall.compile.node import compile_all, compile_node
from nodewall.compile.operations import Operations
from nodewall.compile.settings import Settings

__all__ = ["Change", "Compiler", "Dirty", "Input", "Operations", "Reason", "Settings", "compile_all", "compile_node"]
