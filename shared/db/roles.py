"""The two database roles of each service."""


def app_role(service: str) -> str:
    """The role that a running service uses: its own schema, no DDL."""
    return f"onestop_{service}_app"


def owner_role(service: str) -> str:
    """The role that owns a service's schema and runs its migrations."""
    return f"onestop_{service}_owner"


def service_of(role: str) -> str:
    """The service that logs in with this role."""
    return role.removeprefix("onestop_").removesuffix("_app")
