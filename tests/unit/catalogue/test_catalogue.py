"""Looking up, fingerprinting and comparing matters."""

from typing import Any

import pytest

from shared.catalogue.catalogue import (
    EDITOR_SCHEMA,
    Catalogue,
    Change,
    ChangeKind,
    UnknownMatter,
    UnknownMatterVersion,
    diff,
    editor_schema_text,
    fingerprint,
)
from shared.catalogue.loader import load_catalogue
from shared.catalogue.matter import Matter

ONE = load_catalogue().get("residence_permit.apply")


def changed(**values: Any) -> Matter:
    return Matter.from_dict(ONE.to_dict() | values)


TWO = changed(version=2)


def test_the_newest_version_is_found_unless_one_is_named() -> None:
    catalogue = Catalogue([TWO, ONE])
    assert catalogue.get(ONE.code) is TWO
    assert catalogue.get(ONE.code, 1) is ONE
    assert [matter.version for matter in catalogue] == [1, 2]
    assert len(catalogue) == 2


def test_an_unknown_matter_and_an_unknown_version_are_told_apart() -> None:
    catalogue = Catalogue([ONE])
    with pytest.raises(UnknownMatter) as nowhere:
        catalogue.get("no.such")
    with pytest.raises(UnknownMatterVersion) as no_version:
        catalogue.get(ONE.code, 9)
    assert (nowhere.value.status, nowhere.value.code) == (404, "matter.unknown")
    assert (no_version.value.status, no_version.value.code) == (404, "matter.version-unknown")


def test_one_version_cannot_be_there_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Catalogue([ONE, ONE])


def test_a_matter_comes_back_from_json_as_it_was() -> None:
    again = Matter.from_dict(ONE.to_dict())
    assert again == ONE
    assert fingerprint(again) == fingerprint(ONE)
    assert Matter.model_validate_json(ONE.model_dump_json(exclude_defaults=True)) == ONE


def test_the_fingerprint_sees_every_change() -> None:
    first = ONE.materials[0].model_dump(mode="json") | {"legal_basis": "别的依据"}
    others = [
        TWO,
        changed(names={"zh": "居住证", "en": ONE.names.en}),
        changed(materials=[first, *ONE.to_dict()["materials"][1:]]),
        changed(steps=list(reversed(ONE.to_dict()["steps"]))),
    ]
    assert len({fingerprint(matter) for matter in [ONE, *others]}) == 5


def test_diff_compares_lists_by_code() -> None:
    materials = ONE.to_dict()["materials"]
    new = changed(
        version=2,
        promised_limit=ONE.promised_limit.model_dump(mode="json") | {"amount": 3},
        materials=[m | {"commitment_allowed": True} if m["code"] == "photo" else m for m in materials[:-1]],
    )
    assert diff(ONE, ONE) == []
    assert diff(ONE, new) == [
        Change(ChangeKind.REMOVED, "/materials/disability_certificate", old=materials[-1]),
        Change(ChangeKind.CHANGED, "/materials/photo/commitment_allowed", False, True),
        Change(ChangeKind.CHANGED, "/promised_limit/amount", 5, 3),
        Change(ChangeKind.CHANGED, "/version", 1, 2),
    ]


def test_diff_sees_a_new_order() -> None:
    new = changed(steps=list(reversed(ONE.to_dict()["steps"])))
    assert diff(ONE, new) == [
        Change(ChangeKind.CHANGED, "/steps", ["verify", "decide"], ["decide", "verify"])
    ]


def test_the_checked_in_editor_schema_is_current() -> None:
    assert EDITOR_SCHEMA.read_text(encoding="utf-8") == editor_schema_text(), (
        "write it again: python -m shared.catalogue.editor"
    )
