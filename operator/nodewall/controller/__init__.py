"""The half that reads the cluster and publishes one NodeRuleSet per node."""
