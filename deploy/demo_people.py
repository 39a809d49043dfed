"""The people of the demo. Their ID numbers pass the check and belong to nobody we know of."""

from dataclasses import dataclass

COMMON = ("id_card", "id_photo", "social_insurance_record")


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """One person, and the certificates that the state holds of them."""

    name: str
    id_number: str
    phone: str
    address: str
    certificates: tuple[str, ...]
    email: str | None = None

    @property
    def channels(self) -> frozenset[str]:
        """By which this person is told everything."""
        return frozenset({"inbox", "sms", "email"} if self.email else {"inbox", "sms"})

    def as_applicant(self) -> dict[str, str]:
        """As a form names them."""
        named = {"name": self.name, "id_number": self.id_number, "phone": self.phone}
        return {**named, "email": self.email} if self.email else named


EVERYTHING_HELD = DemoPerson(
    "林小满",
    "330106199003073012",
    "13800000001",
    "文三路 1 号 2 单元 301 室",
    (*COMMON, "lease_record"),
    "xiaoman@mail.example.org",
)
ONE_GAP = DemoPerson(
    "周立夏",
    "330106198506154020",
    "13800000002",
    "教工路 18 号 5 幢 402 室",
    COMMON,
    "lixia@mail.example.org",
)
TO_BE_REFUSED = DemoPerson(
    "吴秋分", "330106197809212035", "13800000003", "学院路 77 号 1 幢 101 室", (*COMMON, "lease_record")
)
SENDS_TWICE = DemoPerson(
    "郑冬至", "330106199511026044", "13800000004", "古墩路 99 号 3 幢 1202 室", (*COMMON, "lease_record")
)
TO_BE_VERIFIED = DemoPerson(
    "王清明", "330106198204053013", "13800000005", "文一路 30 号 7 幢 201 室", (*COMMON, "lease_record")
)
TO_BE_DECIDED = DemoPerson(
    "赵谷雨", "330106199304202025", "13800000006", "天目山路 5 号 2 幢 903 室", (*COMMON, "lease_record")
)
TO_SUPPLY = DemoPerson("孙白露", "33010619970908301X", "13800000007", "保俶路 12 号 1 幢 602 室", COMMON)
PEOPLE = (
    EVERYTHING_HELD,
    ONE_GAP,
    TO_BE_REFUSED,
    SENDS_TWICE,
    TO_BE_VERIFIED,
    TO_BE_DECIDED,
    TO_SUPPLY,
)
OFFICER = "officer-1"
"""Works for every department of the demo."""
