"""Decisions are numbered once, and say their number."""

from collections import Counter

from deploy.lints import ROOT

DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def test_no_two_decisions_bear_one_number() -> None:
    numbers = Counter(path.name[:4] for path in DECISIONS)
    assert [number for number, count in numbers.items() if count > 1] == []


def test_a_decision_says_the_number_of_its_file() -> None:
    assert len(DECISIONS) > 20
    for path in DECISIONS:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith(f"# {int(path.name[:4])}."), path.name
