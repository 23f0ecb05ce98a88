"""Random clusters and policies, weighted to the nasty corners; every reading of them must agree."""
