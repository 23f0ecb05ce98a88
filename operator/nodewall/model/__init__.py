"""Frozen values as they are meant: labels, cluster, policy, rule set, errors; no nil and no defaults left."""
