"""nodewall: a Kubernetes NetworkPolicy engine that enforces with nftables."""

__version__ = "0.1.0"
