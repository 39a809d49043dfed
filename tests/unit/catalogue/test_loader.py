"""A broken matter file is refused with file, line, column, what is wrong and what would be right."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.catalogue.loader import (
    BUILT_IN,
    MatterFileError,
    Problem,
    load_matter,
    parse_matter,
)

GOOD = (BUILT_IN / "residence_permit.apply.yaml").read_text(encoding="utf-8")


def broken(old: str, new: str) -> tuple[str, int]:
    """The good file with its one `old` replaced, and the line of the change."""
    assert GOOD.count(old) == 1, f"{old!r} stands {GOOD.count(old)} times in the file"
    return GOOD.replace(old, new), GOOD[: GOOD.index(old)].count("\n") + 1


def problems(text: str) -> list[str]:
    with pytest.raises(MatterFileError) as refused:
        parse_matter(text, "m.yaml")
    assert refused.value.code == "matter.file-invalid"
    return [str(problem) for problem in refused.value.problems]


def test_the_built_in_file_is_right() -> None:
    assert parse_matter(GOOD, "m.yaml").code == "residence_permit.apply"


# (what stands there, what is written instead, lines below the change, column, words of wrong and right)
SHAPE = [
    ("theme: household", "theem: household", 0, 1, "unknown key 'theem'", "did you mean 'theme'?"),
    ("project_type: promised", "project_type: promissed", 0, 15, "'promissed'", "did you mean 'promised'?"),
    ('kind: "07"', 'kind: "77"', 0, 7, "'77' is not a value of 'kind'", "01, 02"),
    ('level: "4"', "level: county", 0, 8, "'county' is not a value", "1, 2, 3"),
    ("task_version: 1", 'task_version: "one"', 0, 15, "'task_version' is not right", "valid integer"),
    (
        "task_version: 1",
        "task_version: 0",
        0,
        15,
        "'task_version' is not right",
        "greater than or equal to 1",
    ),
    ('region: "330106"', "region: 330106", 0, 9, "'region' is not right", "put it in quotes: '330106'"),
    ('region: "330106"', 'region: "33"', 0, 9, "does not have the form of 'region'", "must match"),
    ("visits: {count: 0}", "visits: {cuont: 0}", 0, 10, "unknown key 'cuont'", "did you mean 'count'?"),
    ("theme: household\n", "", None, 1, "'theme' is missing", "add it"),
    ("  litigation_months: 6\n", "", None, 1, "'litigation_months' is missing", "add it"),
    ("theme: household", "theme: household\ntheme: other", 1, 1, "'theme' stands here twice", "keep one"),
    ("theme: household", "theme: [household", 1, 7, "not YAML", "mend"),
    ("theme: household", "theme: &a household", 0, 8, "", ""),
    (
        "theme: household",
        "theme: !!python/name:os.system x",
        0,
        8,
        "the tag !!python/name",
        "leave the tag out",
    ),
    (
        "disabled_when: {agent_ground: disabled}",
        "disabled_when: yes",
        0,
        18,
        "'disabled_when' is not right",
        "name facts",
    ),
]


@pytest.mark.parametrize(("old", "new", "below", "column", "wrong", "right"), SHAPE)
def test_mistakes_of_shape(
    old: str, new: str, below: int | None, column: int, wrong: str, right: str
) -> None:
    text, line = broken(old, new)
    if not wrong:
        # An anchor that nobody refers to is harmless.
        assert parse_matter(text, "m.yaml").theme == "household"
        return
    found = problems(text)
    if below is not None:
        assert found[0].startswith(f"m.yaml:{line + below}:{column}: "), found
    assert wrong in found[0]
    assert right in found[0].split("; ", 1)[1]


MEANING = [
    (
        "amount: 5, unit: working_day",
        "amount: 16, unit: working_day",
        "the promise may end after the legal limit",
        "15",
    ),
    (
        "amount: 5, unit: working_day",
        "amount: 0, unit: working_day",
        "the amount does not fit the unit",
        "0 for instant",
    ),
    ("visits: {count: 0}", "visits: {count: 1}", "nobody says why", "add the reason"),
    (
        '"0.00", basis: 居住证暂行条例：首次申领居住证，免收证件工本费',
        '"20.00"',
        "a fee without its basis",
        "收费依据",
    ),
    (
        "department: xihu-police\nlegal",
        "department: xihu-polise\nlegal",
        "is not declared",
        "did you mean 'xihu-police'?",
    ),
    ('"11330106MB0A000295"', '"11330106MB0A000296"', "the check character is wrong", "GB 32100"),
    ('"11330106MB0A0001084000709011001"', '"11330106MB0A0001083000709011001"', "task code", "4000709011001"),
    ('"11330106MB0A000108001"', '"11330106MB0A000109001"', "wrong check character", "GB 32100"),
    (
        "consent: /fetch_consent",
        "consent: /fetch_concent",
        "no field /fetch_concent",
        "did you mean '/fetch_consent'?",
    ),
    ("consent: /fetch_consent", "consent: /ground", "not a yes or no", "boolean"),
    (
        "ground: {value: /ground}",
        "ground: {value: /applicant/name}",
        "the personal field /applicant/name",
        "take it out",
    ),
    ("ground: {value: /ground}", "ground: {value: /residence/address}", "the personal field", "take it out"),
    ("ground: {value: /ground}", "ground: {value: /grond}", "no field /grond", "did you mean '/ground'?"),
    ("ground: {value: /ground}", "ground: {}", "exactly one source", "'value' or 'present'"),
    ("ground: {value: /ground}", "ground: {value: /residence}", "a group of fields", "'present'"),
    (
        "disabled_when: {agent_ground: disabled}",
        "disabled_when: {agent_grund: disabled}",
        "not declared",
        "'agent_ground'?",
    ),
    (
        "disabled_when: {agent_ground: disabled}",
        "disabled_when: {agent_ground: disable}",
        "never is 'disable'",
        "'disabled'?",
    ),
    ("condition: {has_agent: true}", 'condition: {has_agent: "true"}', "never is 'true'", "true, false"),
    ("condition: {has_agent: true}", "necessity: required", "the agent may be absent", "add a condition"),
    ("holder_role: agent", "holder_role: agnet", "the role 'agnet' is not declared", "did you mean 'agent'?"),
    ("  role: agent", "  role: applicant", "not the role of an agent", "agent"),
    (
        "allowed_for: [under_16, elderly, disabled]",
        "allowed_for: [elderly]",
        "belong together",
        "both or neither",
    ),
    ("    decides: true\n", "", "not exactly one step decides", "let one step decide"),
    (
        "    decides: true\n",
        "    decides: true\n    silence_policy: consent\n",
        "silence can never decide",
        "take",
    ),
    (
        "    decides: true\n",
        "    decides: true\n    condition: {ground: housing}\n",
        "when ground is employment",
        "one step",
    ),
    ("template: case-accepted,", "when: {state: x}, template: case-accepted,", "'state' is not declared", ""),
    (
        "fact: approval.case-accepted",
        "fact: approval.case-acepted",
        "no service says",
        "'approval.case-accepted'?",
    ),
    ("when: {outcome: denied}", "when: {outcome: refused}", "never is 'refused'", "approved, denied"),
    (
        "residence_proof: {zh",
        "photo: {zh: 甲, en: a}\n  residence_proof: {zh",
        "also the code of a material",
        "own",
    ),
    (
        "residence_proof: {zh",
        "lonely: {zh: 甲, en: a}\n  residence_proof: {zh",
        "fewer than two members",
        "two",
    ),
    ("- code: school_roll", "- code: student_card", "'student_card' stands more than once", "its own code"),
    (
        "required: [method]",
        "required: [methods]",
        "'methods' is required but not a property",
        "did you mean 'method'?",
    ),
    (
        "x-not-future: true",
        "x-not-futur: true",
        "the keyword 'x-not-futur' is not used",
        "did you mean 'x-not-future'?",
    ),
    ("x-not-future: true", "x-not-future: perhaps", "this is not 'true'", "x-not-future: true"),
    (
        "            rented: {zh: 租赁住房, en: Rented}\n",
        "",
        "the choice 'rented' has no name",
        "x-enum-names.rented",
    ),
    (
        "visits: {count: 0}",
        "visits: {count: 1, reason: {zh: 甲, en: a}}",
        "arranges no visit",
        "leave it out",
    ),
    ('applicant_kinds: ["1"]', 'applicant_kinds: ["1", "2"]', "natural persons", "leave it out"),
    ('amount_cny: "0.00"', 'amount_cny: "20.00"', "decided unpaid", "leave it out"),
    (
        "    decides: true\n",
        "    decides: true\n    parallel: both\n",
        "runs steps one after another",
        "leave it out",
    ),
    (
        "    queue: xihu-community.residence\n",
        "    queue: xihu-community.residence\n    silence_policy: consent\n",
        "draws nothing from silence",
        "leave it out",
    ),
    (
        "certificate_types: [id_photo]\n",
        "certificate_types: [id_photo]\n    necessity: deferrable\n",
        "asks for everything before it accepts",
        "leave it out",
    ),
    (
        "certificate_types: [id_photo]\n",
        "certificate_types: [id_photo]\n    commitment_allowed: true\n",
        "takes no commitment",
        "leave it out",
    ),
    (
        "steps:\n",
        "automatic_decision: {approve_when: {has_agent: false}, basis: 甲}\nsteps:\n",
        "decides nothing by itself",
        "leave it out",
    ),
    ("          format: email\n", "", "'email' in /applicant is not checked", "format: email"),
    (
        "          x-personal: true\n          format: id-number\n",
        "          x-personal: true\n",
        "'id_number' in /agent is not",
        "format: id-number",
    ),
    (
        "          x-personal: true\n          format: mobile\n",
        "          x-personal: true\n          format: phone\n",
        "the format 'phone' is not checked",
        "mobile",
    ),
    (
        "promised_limit: {amount: 5, unit: working_day",
        "promised_limit: {amount: 5, unit: working_day, on_day_off: that_day",
        "only natural days can end on a day off",
        "take it out",
    ),
    ("title: 邮寄地址", "x-hint: {zh: 甲, en: a} # 邮寄地址", "has no 'title'", "in Chinese"),
]


@pytest.mark.parametrize(("old", "new", "wrong", "right"), MEANING)
def test_mistakes_of_meaning(old: str, new: str, wrong: str, right: str) -> None:
    text, line = broken(old, new)
    found = [problem for problem in problems(text) if wrong in problem]
    assert found, problems(text)
    assert right in found[0]
    # Where the parts must fit together, the problem stands at one of them; never above the file's first line.
    place = int(found[0].split(":")[1])
    assert 1 <= place <= text.count("\n") + 1
    if "is not declared" in wrong or "no field" in wrong or "the personal field" in wrong:
        assert place == line


def test_a_personal_field_must_be_marked_and_text_must_be_bounded() -> None:
    text, _ = broken("          title: 邮寄地址（不填则寄至居住地）", "          title: 邮寄地址")
    unmarked = text.replace("          x-personal: true\n          maxLength: 200\n", "")
    assert unmarked != text
    told = " ".join(problems(unmarked))
    assert "'address' identifies people but is not marked" in told
    assert "does not say whether it is personal" in told
    assert "no sensible bound" in told


def test_open_objects_are_refused() -> None:
    text = GOOD.replace(
        "  type: object\n  additionalProperties: false\n  required: [applicant",
        "  type: object\n  required: [applicant",
    )
    assert text != GOOD
    assert "unknown fields would be accepted here; add 'additionalProperties: false'" in " ".join(
        problems(text)
    )


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace("theme: household", "theem: household").replace('region: "330106"', "region: 33")
    found = problems(text)
    assert len(found) == 2
    assert [int(problem.split(":")[1]) for problem in found] == sorted(int(p.split(":")[1]) for p in found)


def test_aliases_cannot_blow_a_file_up() -> None:
    text = GOOD.replace("colloquial_names: [", "colloquial_names: [&a x, *a, *a, ")
    assert any("an alias (*) repeats" in problem for problem in problems(text))


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n", "just text", "a: 1\n---\nb: 2\n", "{", "\x00"])
def test_what_is_no_matter_at_all(text: str) -> None:
    assert all(problem.startswith("m.yaml:") for problem in problems(text))


@given(st.text(max_size=200))
def test_no_text_breaks_the_loader(text: str) -> None:
    with pytest.raises(MatterFileError):
        parse_matter(text, "m.yaml")


# A file takes some 50 ms, on a busy machine far more.
@settings(deadline=None)
@given(st.integers(min_value=0, max_value=len(GOOD) - 1), st.text(max_size=5))
def test_a_change_anywhere_is_read_or_told(at: int, put: str) -> None:
    for told in told_about(GOOD[:at] + put + GOOD[at + 1 :]):
        assert told.place.line >= 1
        assert told.wrong
        assert told.right


def told_about(text: str) -> tuple[Problem, ...]:
    try:
        parse_matter(text, "m.yaml")
    except MatterFileError as error:
        return error.problems
    return ()


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(b"code: a\nnames: \xff\n")
    with pytest.raises(MatterFileError, match=r"m\.yaml:2:1: this is not UTF-8 text"):
        load_matter(path)
