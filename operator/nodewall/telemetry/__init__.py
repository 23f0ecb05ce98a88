"""What the program says about itself: metrics, logs, health and Kubernetes Events."""
