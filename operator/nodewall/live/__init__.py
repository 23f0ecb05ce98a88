"""The verbs that ask a running cluster, with the rights of whoever asks."""
