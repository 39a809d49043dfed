"""Applications that somebody brings for somebody else, and matters that say otherwise who may."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from services.intake.rules.identity import check_character
from shared.catalogue.loader import BUILT_IN
from tests.support.hall import A_JPEG, A_PDF, Hall, Headers, application, keyed, upload
from tests.support.installation import MATTER, Citizen

NO_AGENTS, OTHER_ROLE = "test.no_agents", "test.other_role"
"""The residence permit for whom nobody may act; and the same as built in, the agent being called a helper."""


def more_matters(folder: Path) -> list[Path]:
    """Two variants of the built-in matter."""
    written = (BUILT_IN / f"{MATTER}.yaml").read_text("utf-8")
    helper = yaml.safe_load(written)
    helper["code"] = OTHER_ROLE
    helper["agent"]["role"] = "helper"
    helper["holders"]["helper"] = helper["holders"].pop("agent")
    for notice in helper["notices"]:
        notice["to"] = ["applicant", "helper"]
    for material in helper["materials"]:
        if material.get("holder_role") == "agent":
            material["holder_role"] = "helper"
    nobody = yaml.safe_load(written)
    nobody["code"] = NO_AGENTS
    del nobody["agent"]
    for notice in nobody["notices"]:
        del notice["to"]
    found = []
    for matter in (helper, nobody):
        path = folder / f"{matter['code']}.yaml"
        path.write_text(yaml.safe_dump(matter, allow_unicode=True, sort_keys=False), "utf-8")
        found.append(path)
    return found


def born(year: int, serial: int) -> str:
    """A valid ID number of somebody born in that year."""
    body = f"330106{year}0307{serial:03d}"
    return body + check_character(body)


def acted_for(
    applicant: Mapping[str, str], agent: Citizen, ground: str, matter: str = MATTER
) -> dict[str, Any]:
    """An application that `agent` brings for somebody else."""
    who = Citizen(applicant["name"], applicant["id_number"], applicant["phone"])
    relation = {"relation": "child", "ground": ground}
    person = {"name": agent.name, "id_number": agent.id_number, "phone": agent.phone, **relation}
    return {**application(who, agent=person), "matter": matter}


GRANNY = {"name": "老人", "id_number": born(1950, 7), "phone": "13800000001"}
GROWN_UP = {"name": "成人", "id_number": born(1985, 7), "phone": "13800000002"}


def under_review_by_agent(hall: Hall, matter: str = MATTER) -> tuple[str, Headers]:
    """An application that somebody brought for another, and supplied; its number and their log-in."""
    agent, headers = hall.citizen(("id_card",))
    sent = hall.apply(headers, acted_for(GRANNY, agent, "elderly", matter))
    assert sent.status_code == 201, sent.text
    number = sent.json()["number"]
    hall.installation.pump()
    case = hall.case(headers, number)
    # The agent's own card is one of the materials, and is read; the applicant's are asked for.
    assert {m["material"] for m in case["materials"] if m["source"]} == {"agent_id_card"}
    asked = {item["material"] for item in case["asked"]}
    assert asked == {"id_card", "photo", "residence_proof", "ground_proof"}
    files = {
        "id_card": A_PDF,
        "photo": A_JPEG,
        "lease_contract": A_PDF,
        "labour_contract": A_PDF,
    }
    body = {"uploads": {code: upload(hall, headers, content) for code, content in files.items()}}
    path = f"/api/v1/cases/{number}/supplements"
    assert hall.client.post(path, headers=keyed(headers), json=body).status_code == 202
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    return number, headers
