"""How one real case becomes a million: the same rows under numbers, ids, people and days of their own."""

from datetime import UTC, datetime
from uuid import UUID

from tests.bench.scale import Sample

NUMBER, APPLICANT = "330106261128000017", UUID("0193a000-0000-7000-8000-00000000000a")
DIGEST = "ab" * 32
TASK = "0193b111-2222-7333-8444-555555555555"
OTHER = "0193b111-2222-7333-8444-666666666666"


def sample() -> Sample:
    today = datetime.now(UTC).date().isoformat()
    rows = {
        "intake.cases": [
            f'{NUMBER}\t{APPLICANT}\t\\\\x{DIGEST}\t{today} 10:00:00.5+00\t{{"share": "5 %"}}\n',
        ],
        "approval.tasks": [f"{TASK}\t{NUMBER}\tverify\n", f"{OTHER}\t{NUMBER}\tdecide\n"],
    }
    return Sample.of(rows, NUMBER, APPLICANT, DIGEST)


def test_a_case_has_its_own_number_person_digest_and_day() -> None:
    line = sample().of_case("intake.cases", "case-7", 7, "person-7", "2025-03-01")
    assert line == (
        f'case-7\tperson-7\t\\\\x00000007{DIGEST[8:]}\t2025-03-01 10:00:00.5+00\t{{"share": "5 %"}}\n'
    )


def test_ids_differ_from_case_to_case_and_within_one() -> None:
    ids = [
        line.split("\t")[0]
        for n in range(3)
        for line in sample().of_case("approval.tasks", f"case-{n}", n, "p", "d").splitlines()
    ]
    assert ids[0] == f"00000000{TASK[8:]}"
    assert len(set(ids)) == len(ids) == 6
