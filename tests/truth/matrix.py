"""A table of verdicts for a person who has to find out which one is wrong."""

from collections.abc import Iterable, Mapping

from tests.truth.case import Case, Probe

_MARKS = {True: ".", False: "x"}


def report(case: Case, got: Mapping[Probe, Iterable[bool]]) -> str:
    """Sources down, destinations across; ``.`` allowed, ``x`` denied, ``want!got`` where they differ. A cell with two
    letters is IPv4 and IPv6.
    """
    columns = list(dict.fromkeys(_column(probe) for probe in got))
    rows = list(dict.fromkeys(probe.source for probe in got))
    cells = {(probe.source, _column(probe)): _cell(probe, list(verdicts)) for probe, verdicts in got.items()}
    left = max(map(len, rows))
    wrong = [f"  {probe}: want {_word(probe.allowed)}" for probe, found in got.items() if set(found) != {probe.allowed}]
    lines = [
        f"{case.name} (statements {', '.join(map(str, case.statements))})",
        f"{'':{left}}  {'  '.join(columns)}",
        *(
            f"{row:{left}}  {'  '.join(cells.get((row, column), '').center(len(column)) for column in columns)}"
            for row in rows
        ),
        "wrong:",
        *wrong,
        "policies:",
        case.policies,
    ]
    return "\n".join(lines)


def wrong(got: Mapping[Probe, Iterable[bool]]) -> bool:
    return any(set(found) != {probe.allowed} for probe, found in got.items())


def _column(probe: Probe) -> str:
    return f"{probe.destination} {probe.traffic}{'@svc' if probe.via_service else ''}"


def _cell(probe: Probe, verdicts: list[bool]) -> str:
    found = "".join(_MARKS[verdict] for verdict in verdicts)
    return found if set(verdicts) == {probe.allowed} else f"{_MARKS[probe.allowed]}!{found}"


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"
