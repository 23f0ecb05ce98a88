"""The half that runs on every node and applies its NodeRuleSet to the kernel."""
