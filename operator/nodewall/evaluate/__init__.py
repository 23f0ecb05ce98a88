"""A direct reading of the policies: the verdict for one packet and its reason. Shares nothing with compile."""
