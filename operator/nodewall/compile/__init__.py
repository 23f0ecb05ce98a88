"""ClusterState to one NodeRuleSet per node, and what a change makes dirty. Pure."""
