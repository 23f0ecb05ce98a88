"""The faults keep fitting the code: otherwise ``make faults`` would one day test nothing."""

import pytest

from tests.faults.patches import Fault, faults
from tests.faults.tree import ROOT, apply, copy

FAULTS = faults()


def test_there_are_enough() -> None:
    assert len(FAULTS) >= 30


def test_each_of_the_three_stages_has_its_own() -> None:
    texts = [fault.path.read_text() for fault in FAULTS]
    for stage in ("api", "compile", "render"):
        assert sum(f"operator/nodewall/{stage}/" in text for text in texts) >= 10, stage


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_tests_that_have_to_notice_exist(fault: Fault) -> None:
    paths = [one for one in fault.tests if one.startswith("tests/")]
    assert paths
    assert all((ROOT / path.partition("::")[0]).is_file() for path in paths)


def test_every_patch_applies() -> None:
    with copy() as tree:
        refused = {fault.name: said for fault in FAULTS if (said := apply(fault.path, tree, only_check=True))}
    assert refused == {}
