"""What the incremental compiler has done, in numbers: cost is judged by them, and no machine or clock disturbs them."""

from dataclasses import dataclass


@dataclass(slots=True)
class Operations:
    """Totals since the compiler began."""

    selectors: int = 0
    """Selectors tried on labels."""
    fed: int = 0
    """Pods put into a group or taken out."""
    classified: int = 0
    """Pods whose classes were looked up again."""
    classes: int = 0
    """Classes bound."""
    groups: int = 0
    """Groups whose members changed."""
    parts: int = 0
    """Parts of shared groups that changed."""
    nodes: int = 0
    """Nodes reported dirty."""
