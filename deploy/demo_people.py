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
PEOPLE = (EVERYTHING_HELD, ONE_GAP, TO_BE_REFUSED, SENDS_TWICE)
