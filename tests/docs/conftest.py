"""The nodes that the truth tables use serve the documents too."""

from tests.truth.conftest import cluster

__all__ = ["cluster"]
