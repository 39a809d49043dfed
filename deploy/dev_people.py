"""Who may be chosen at the development log-in. Officers only: citizens say who they are, and become known
so."""

from shared.auth.identity import DevPerson
from shared.auth.principal import Principal, PrincipalKind


def dev_people() -> list[DevPerson]:
    """The test officers of the demo's departments."""
    return [
        DevPerson(
            f"officer-{n}",
            Principal(
                PrincipalKind.OFFICER,
                f"officer-{n}",
                departments=("xihu-community", "xihu-police"),
                name=f"{n}号工作人员",
            ),
            "社区与公安居住登记窗口工作人员",
            "officer of the community and residence desks",
        )
        for n in (1, 2)
    ]
