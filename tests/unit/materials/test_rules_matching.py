"""Matching: never a wrong certificate, every gap at once; an oracle written apart from the rule agrees."""

import itertools
import random
from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.materials.rules.matching import (
    CertificateState,
    CertificateView,
    MatchOutcome,
    MatchResult,
    is_valid,
    match,
)
from shared.catalogue.matter import Material, Matter
from shared.catalogue.terms import Names

TODAY = date(2026, 11, 23)
ANN, BOB = UUID(int=1), UUID(int=2)
HOLDERS = {"applicant": ANN, "landlord": BOB}
UPLOAD = UUID(int=99)
DAYS = [None, TODAY - timedelta(1), TODAY, TODAY + timedelta(1)]


def material(code: str, **more: Any) -> Material:
    base = {"names": {"zh": code, "en": code}, "source": "either", "legal_basis": "测试依据"}
    return Material.model_validate({"code": code, **base, **more})


def matter(*materials: Material) -> Matter:
    groups = {m.one_of: Names(zh=m.one_of, en=m.one_of) for m in materials if m.one_of}
    return Matter.model_construct(code="test.matter", materials=materials, one_of_groups=groups)


def certificate(number: int = 10, type_code: str = "id_card", **more: Any) -> CertificateView:
    fields: dict[str, Any] = {
        "holder_ref": ANN,
        "state": CertificateState.NORMAL,
        "trust_level": "A",
        "valid_from": None,
        "valid_until": None,
        "issuer": "police",
    }
    return CertificateView(UUID(int=number), type_code, **(fields | more))


def run(item: Matter, *certificates: CertificateView, **more: Any) -> MatchResult:
    values: dict[str, Any] = {
        "facts": {},
        "holders": HOLDERS,
        "certificates": certificates,
        "uploads": {},
        "consents": HOLDERS,
        "on": TODAY,
    }
    return match(item, **(values | more))


ID_CARD = material("id_card", certificate_types=["id_card"])
HOME = (
    material("deed", certificate_types=["deed"], one_of="home"),
    material("lease", certificate_types=["lease"], one_of="home"),
    material("letter", source="self_provide", one_of="home"),
)


def test_a_good_certificate_matches() -> None:
    result = run(matter(ID_CARD), certificate())
    assert [(o.material, o.outcome, o.source, o.certificate) for o in result.outcomes] == [
        ("id_card", MatchOutcome.MATCHED, "certificate", UUID(int=10))
    ]
    assert result.gaps == ()


@pytest.mark.parametrize(
    ("flaw", "outcome"),
    [
        ({"valid_until": TODAY - timedelta(1)}, MatchOutcome.EXPIRED),
        ({"valid_from": TODAY + timedelta(1)}, MatchOutcome.NOT_FOUND),
        *(({"state": state}, MatchOutcome.REVOKED) for state in CertificateState if state != "normal"),
        ({"holder_ref": BOB}, MatchOutcome.HOLDER_MISMATCH),
        ({"trust_level": "C"}, MatchOutcome.NOT_FOUND),
        ({"trust_level": "D"}, MatchOutcome.NOT_FOUND),
        ({"trust_level": ""}, MatchOutcome.NOT_FOUND),
        ({"type_code": "deed"}, MatchOutcome.NOT_FOUND),
    ],
)
def test_a_flawed_certificate_is_a_gap_with_its_reason(flaw: dict[str, Any], outcome: MatchOutcome) -> None:
    result = run(matter(ID_CARD), certificate(**flaw))
    assert [o.outcome for o in result.outcomes] == [outcome]
    assert result.outcomes[0].certificate is None
    assert result.gaps == ("id_card",)


def test_first_and_last_day_of_validity_count() -> None:
    assert run(matter(ID_CARD), certificate(valid_from=TODAY, valid_until=TODAY)).gaps == ()


def test_without_consent_nothing_is_looked_at() -> None:
    result = run(matter(ID_CARD), certificate(), consents=())
    assert (result.outcomes[0].outcome, result.gaps) == (MatchOutcome.NEEDS_CONSENT, ("id_card",))


def test_an_upload_meets_what_no_certificate_met() -> None:
    result = run(matter(ID_CARD), uploads={"id_card": UPLOAD})
    assert (result.outcomes[0].outcome, result.outcomes[0].source) == (MatchOutcome.SELF_PROVIDED, "upload")
    assert (result.outcomes[0].upload, result.gaps) == (UPLOAD, ())


def test_what_must_be_shared_cannot_be_uploaded_nor_the_other_way_round() -> None:
    shared = material("id_card", certificate_types=["id_card"], source="share")
    assert run(matter(shared), uploads={"id_card": UPLOAD}).gaps == ("id_card",)
    own = material("photo", certificate_types=["id_card"], source="self_provide")
    assert run(matter(own), certificate()).gaps == ("photo",)


def test_one_outcome_for_a_group_and_certificates_before_uploads() -> None:
    result = run(matter(*HOME), certificate(11, "lease"), uploads={"deed": UPLOAD, "letter": UPLOAD})
    assert [(o.material, o.certificate, o.upload) for o in result.outcomes] == [("home", UUID(int=11), None)]
    both = run(matter(*HOME), certificate(11, "lease"), certificate(12, "deed"))
    assert both.outcomes[0].certificate == UUID(int=12)
    letter = run(matter(*HOME), uploads={"letter": UPLOAD})
    assert (letter.outcomes[0].upload, letter.gaps) == (UPLOAD, ())
    none = run(matter(*HOME), certificate(11, "lease", valid_until=TODAY - timedelta(1)))
    assert [(o.material, o.outcome) for o in none.outcomes] == [("home", MatchOutcome.EXPIRED)]
    assert none.gaps == ("home",)


def test_conditions_decide_what_is_asked() -> None:
    conditional = material("payroll", condition={"ground": ["job"]})
    assert run(matter(conditional), facts={"ground": "home"}) == MatchResult((), ())
    assert run(matter(conditional), facts={"ground": "job"}).gaps == ("payroll",)
    skipped = (
        material("deed", certificate_types=["deed"], one_of="home", condition={"owner": True}),
        *HOME[1:],
    )
    assert run(matter(*skipped), certificate(12, "deed"), facts={"owner": False}).gaps == ("home",)


def test_optional_materials_never_are_gaps() -> None:
    optional = material("reference", necessity="optional")
    assert run(matter(optional)) == MatchResult((), ())
    assert run(matter(optional), uploads={"reference": UPLOAD}).outcomes[0].upload == UPLOAD


def test_the_right_person_for_each_role() -> None:
    deed = material("deed", certificate_types=["deed"], holder_role="landlord")
    assert run(matter(deed), certificate(12, "deed", holder_ref=ANN)).gaps == ("deed",)
    assert run(matter(deed), certificate(12, "deed", holder_ref=BOB)).gaps == ()
    assert run(matter(deed), certificate(12, "deed", holder_ref=BOB), holders={"applicant": ANN}).gaps == (
        "deed",
    )


def test_the_best_certificate_wins_in_any_order() -> None:
    pool = [
        certificate(13, trust_level="B"),
        certificate(12, valid_until=TODAY),
        certificate(11, valid_until=TODAY + timedelta(9)),
        certificate(10, valid_until=TODAY + timedelta(9)),
    ]
    for order in itertools.permutations(pool):
        assert run(matter(ID_CARD), *order).outcomes[0].certificate == UUID(int=10)


CODES = ["a", "b", "c", "d"]
ROLES = ["applicant", "landlord", "nobody"]
materials_strategy = st.lists(
    st.builds(
        material,
        st.sampled_from(CODES),
        certificate_types=st.lists(st.sampled_from(["x", "y"]), unique=True),
        holder_role=st.sampled_from(ROLES),
        one_of=st.sampled_from([None, "g", "h"]),
        condition=st.sampled_from([None, {"f": 1}, {"f": [1, 2]}, {"f": True}, {"f": 1, "k": "v"}]),
        necessity=st.sampled_from(["required", "optional", "deferrable"]),
        source=st.sampled_from(["share", "self_provide", "either"]),
    ),
    max_size=4,
    unique_by=lambda m: m.code,
)
certificates_strategy = st.lists(
    st.builds(
        certificate,
        st.integers(10, 99),
        st.sampled_from(["x", "y"]),
        holder_ref=st.sampled_from([ANN, BOB, UUID(int=3)]),
        # Mostly usable, or the interesting cases drown.
        state=st.sampled_from([CertificateState.NORMAL] * 6 + list(CertificateState)),
        trust_level=st.sampled_from("AAABBCD"),
        valid_from=st.sampled_from(DAYS),
        valid_until=st.sampled_from(DAYS),
    ),
    max_size=6,
    unique_by=lambda c: c.id,
)
uploads_strategy = st.dictionaries(st.sampled_from(CODES), st.just(UPLOAD), max_size=4)
facts_strategy = st.fixed_dictionaries(
    {}, optional={"f": st.sampled_from([1, 2, 3, True, None]), "k": st.just("v")}
)


def applies(item: Material, facts: Mapping[str, Any]) -> bool:
    for name, wanted in (item.condition or {}).items():
        if not any(type(facts.get(name)) is type(want) and facts.get(name) == want for want in wanted):
            return False
    return True


def may_use(item: Material, view: CertificateView, consents: Collection[str]) -> bool:
    return not (
        item.holder_role not in consents
        or item.source == "self_provide"
        or view.type_code not in item.certificate_types
        or view.holder_ref != HOLDERS.get(item.holder_role)
        or view.state != "normal"
        or view.trust_level not in {"A", "B"}
        or (view.valid_from is not None and view.valid_from > TODAY)
        or (view.valid_until is not None and view.valid_until < TODAY)
    )


@settings(max_examples=2000, deadline=None)
@given(
    materials_strategy,
    certificates_strategy,
    uploads_strategy,
    facts_strategy,
    st.sampled_from([tuple(HOLDERS), ("applicant",), ("landlord",), ()]),
    st.randoms(use_true_random=False),
)
def test_never_a_wrong_match_and_gaps_are_complete(
    materials: list[Material],
    certificates: list[CertificateView],
    uploads: dict[str, UUID],
    facts: dict[str, Any],
    consents: tuple[str, ...],
    shuffle: random.Random,
) -> None:
    item = matter(*materials)
    values: dict[str, Any] = {
        "facts": facts,
        "uploads": uploads,
        "consents": consents,
    }
    result = run(item, *certificates, **values)

    by_id = {c.id: c for c in certificates}
    names = [o.material for o in result.outcomes]
    assert len(names) == len(set(names))
    for outcome in result.outcomes:
        assert (outcome.source == "certificate") == (outcome.certificate is not None)
        assert (outcome.source == "upload") == (outcome.upload is not None)
        if outcome.source is None:
            assert outcome.outcome not in {MatchOutcome.MATCHED, MatchOutcome.SELF_PROVIDED}
            continue
        members = [m for m in materials if applies(m, facts) and outcome.material == (m.one_of or m.code)]
        if outcome.certificate is not None:
            assert any(may_use(m, by_id[outcome.certificate], consents) for m in members)
            assert is_valid(by_id[outcome.certificate], TODAY)
        else:
            assert any(m.source != "share" and m.code in uploads for m in members)

    wanted: dict[str, list[Material]] = {}
    for one in materials:
        if applies(one, facts):
            wanted.setdefault(one.one_of or one.code, []).append(one)
    gaps = [
        name
        for name, members in wanted.items()
        if any(m.necessity != "optional" for m in members)
        and not any(may_use(m, c, consents) for m in members for c in certificates)
        and not any(m.source != "share" and m.code in uploads for m in members)
    ]
    assert sorted(result.gaps) == sorted(gaps)
    assert {name for name, ms in wanted.items() if any(m.necessity != "optional" for m in ms)} <= set(names)
    assert set(names) <= set(wanted)

    shuffled = list(certificates)
    shuffle.shuffle(shuffled)
    assert run(item, *shuffled, **values) == result
