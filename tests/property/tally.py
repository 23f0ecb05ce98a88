"""How much a run has judged, said at its end: a property that nothing reaches would pass as well."""

from collections import Counter

JUDGED: Counter[str] = Counter()
