"""The verdict log of the agent: from what the kernel hands over to a line of JSON."""
