"""Fingerprinting and comparing matters."""

from typing import Any

from shared.catalogue.diff import Change, ChangeKind, diff
from shared.catalogue.loader import BUILT_IN, load_matter
from shared.catalogue.matter import Matter
from shared.catalogue.published import fingerprint

ONE = load_matter(BUILT_IN / "residence_permit.apply.yaml")


def changed(**values: Any) -> Matter:
    return Matter.model_validate(ONE.model_dump(mode="json") | values)


TWO = changed(version=2)


def test_a_matter_comes_back_from_json_as_it_was() -> None:
    again = Matter.model_validate(ONE.model_dump(mode="json"))
    assert again == ONE
    assert fingerprint(again) == fingerprint(ONE)
    assert Matter.model_validate_json(ONE.model_dump_json(exclude_defaults=True)) == ONE


def test_the_fingerprint_sees_every_change() -> None:
    first = ONE.materials[0].model_dump(mode="json") | {"legal_basis": "别的依据"}
    others = [
        TWO,
        changed(names={"zh": "居住证", "en": ONE.names.en}),
        changed(materials=[first, *ONE.model_dump(mode="json")["materials"][1:]]),
        changed(steps=list(reversed(ONE.model_dump(mode="json")["steps"]))),
    ]
    assert len({fingerprint(matter) for matter in [ONE, *others]}) == 5


def test_diff_compares_lists_by_code() -> None:
    materials = ONE.model_dump(mode="json")["materials"]
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
    new = changed(steps=list(reversed(ONE.model_dump(mode="json")["steps"])))
    assert diff(ONE, new) == [
        Change(ChangeKind.CHANGED, "/steps", ["verify", "decide"], ["decide", "verify"])
    ]
