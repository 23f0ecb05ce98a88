"""Truth tables written by hand: the first of the three readings that must agree."""
