"""NodeRuleSet to nft objects, and to the smallest transaction between two of them. Pure."""
