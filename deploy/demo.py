"""`onestop demo`: everything up, with people, certificates, cases, and somebody to decide them."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from deploy import users
from deploy.demo_log import DemoLog
from deploy.demo_people import PEOPLE, DemoPerson
from deploy.demo_scenarios import DEPARTMENTS, Hall, LeftOver, ScenarioFailed, leave_work, play
from deploy.errors import MadeByAnotherBuild
from deploy.installation import Installation, InstallationOptions, keeps_database, remembered_settings
from deploy.kept_data import check_kept, put_aside
from deploy.output import emit_json, say
from deploy.standins.launch import MailStandin, SmsStandin, Standin
from deploy.supervisor_state import is_held
from deploy.users import code_users

_ENDED_EARLIER = 10


def run_demo(
    *,
    data_dir: Path,
    once: bool,
    as_json: bool,
    verbose: bool,
    broker: str | None,
    apart: bool,
    web_port: int | None,
) -> int:
    """Run the demo; with `once` it ends by itself, 0 only when every case ended as its scenario says.

    The processes' log goes to `demo.log` in the data folder, with `verbose` to standard error.
    Must be called from the main thread: what it starts ends with that thread.
    """
    put_aside_another_builds(data_dir)
    [who] = code_users(users.SERVICES, may_stay_root=True)
    if who is None and os.geteuid() == 0:
        say("onestop demo: only root can read this folder or its Python, so web and workers run as root")
    sms, mail = SmsStandin(data_dir / "sms", run_as=who), MailStandin(data_dir / "mail", run_as=who)
    installation = Installation(
        InstallationOptions(
            data_dir,
            environment="demo",
            broker=broker,
            apart=apart,
            web_port=web_port,
            settings=_settings(sms, mail),
            may_stay_root=True,
        )
    )
    demo = _Demo(installation, {"sms": sms, "mail": mail}, once=once, as_json=as_json)
    log = None if verbose else DemoLog(data_dir / "demo.log")
    code = 1
    try:
        for standin in (sms, mail):
            standin.launch()
        # What the demo puts in is loaded while the database gets ready.
        Thread(target=import_module, args=("deploy.demo_seed",), daemon=True).start()
        code = asyncio.run(installation.supervisor(main=demo.main, say=log).run())
        return code
    finally:
        if log is not None and code == 1:
            log.show_last()
        for standin in (sms, mail):
            standin.stop()


def put_aside_another_builds(data_dir: Path) -> None:
    """What an earlier demo left must not keep the next one from starting; anything else is people's own."""
    by_demo = remembered_settings(data_dir).get("ONESTOP_ENVIRONMENT") == "demo"
    if not by_demo or not keeps_database() or is_held(data_dir):
        return
    try:
        check_kept(data_dir)
    except MadeByAnotherBuild as another:
        try:
            aside = put_aside(data_dir)
        except OSError:
            raise another from None
        say(f"onestop demo: the data of an earlier build are now in {aside}; this one begins with new data")


def _settings(*standins: SmsStandin | MailStandin) -> dict[str, str]:
    return {
        "ONESTOP_DEV_IDENTITY": "true",
        "ONESTOP_IDENTITY__ONE_TIME_CODE__KINDS": "phone,email",
        "ONESTOP_CLOCK_OFFSET_ALLOWED": "true",
        "ONESTOP_WEB__COOKIE_SECURE": "false",
        # The same seven people apply at every start.
        "ONESTOP_LIMITS__FILINGS_BY_CITIZEN": "1000",
        "ONESTOP_LIMITS__FILINGS_IN_A_MATTER": "1000",
        **{name: value for standin in standins for name, value in standin.environment().items()},
    }


class _Demo:
    """What runs beside the supervisor once all is ready."""

    def __init__(
        self, installation: Installation, standins: Mapping[str, Standin], *, once: bool, as_json: bool
    ) -> None:
        self._installation = installation
        self._standins = standins
        self._once = once
        self._as_json = as_json
        self._stop = Event()
        self._began = psutil.Process().create_time()

    async def main(self) -> int | None:
        """Seed, play, print. A number ends the demo; None keeps the installation up."""
        try:
            return await asyncio.to_thread(self._run)
        except asyncio.CancelledError:
            self._stop.set()
            raise

    def _run(self) -> int | None:
        hall = Hall(self._installation.url, self._tell, self._stop)
        try:
            for standin in self._standins.values():
                standin.wait()
            tokens = self._prepare(hall)
            cases = play(hall, tokens)
            left = [] if self._once else leave_work(hall, tokens)
        except ScenarioFailed as failed:
            say(f"onestop demo: {failed}")
            return 1
        if self._as_json:
            emit_json(self._report(hall, cases))
        if not self._once:
            self._show_addresses(hall, left)
            return None
        return 0

    def _prepare(self, hall: Hall) -> dict[DemoPerson, str]:
        from deploy.demo_seed import publish_built_in, seed_certificates
        from shared.settings import Settings

        # This process is told what its children are told.
        os.environ.update(self._installation.settings())
        settings = Settings()
        publish_built_in(settings)
        known = {person: hall.log_in(person) for person in PEOPLE}
        seed_certificates(settings, {person: ref for person, (_, ref) in known.items()})
        for person, (token, _) in known.items():
            earlier = hall.call("GET", "/api/v1/cases", token).json()["cases"]
            for case in earlier[:_ENDED_EARLIER]:
                self._tell(f"{case['number']}  {person.name} 此前的办件 from an earlier run: {case['state']}")
        return {person: token for person, (token, _) in known.items()}

    def _report(self, hall: Hall, cases: list[dict[str, Any]]) -> dict[str, Any]:
        assert hall.first_number_at is not None
        return {
            "cases": [_reported(case) for case in cases],
            "started_s": round(hall.first_number_at - self._began, 2),
            "elapsed_s": round(time.time() - self._began, 2),
        }

    def _show_addresses(self, hall: Hall, left: list[LeftOver]) -> None:
        people = "".join(f"\n    {p.name}  {p.id_number}" for p in PEOPLE)
        work = "".join(f"\n    {one.number}  {one.what}\n        {one.who}" for one in left)
        looked_up = "".join(f"\n    {number}  {code}" for number, code in list(hall.query_codes.items())[-1:])
        self._tell(
            f"\n  演示已就绪 The demo is ready. Ctrl-C ends it; data stay in {self._installation.data_dir}\n"
            f"  办事大厅 service hall   {hall.url}/\n"
            f"  测试登录 test log-in    {hall.url}/dev/login   (NOT for production)\n"
            f"  错误代码 error codes    {hall.url}/problems\n"
            f"  短信 text messages      {self._standins['sms'].url}/\n"
            f"  邮箱 mailbox            {self._standins['mail'].url}/\n"
            f"  测试人员 test people:{people}\n"
            f"  留给您办的 left for you to do:{work}\n"
            f"  免登录查询 look up without a log-in, by number and query code: {hall.url}/lookup{looked_up}\n"
            "  令牌 tokens: POST /dev/tokens/citizen with name and id_number; /dev/tokens/officer with\n"
            f'    {{"subject": "officer-1", "departments": {json.dumps(DEPARTMENTS)}}}\n'
        )

    def _tell(self, line: str) -> None:
        stream = sys.stderr if self._as_json else sys.stdout
        stream.write(line + "\n")
        stream.flush()


def _reported(case: Mapping[str, Any]) -> dict[str, Any]:
    materials = case["materials"]
    return {
        "number": case["number"],
        "matter": case["matter"],
        "channel": case["channel"],
        "outcome": case["outcome"],
        "received_at": case["received_at"],
        "accepted_at": case["accepted_at"],
        "due_at": case["promised_due_at"],
        "visits": case["visits"],
        "materials_required": len(materials),
        "materials_fetched": sum(m["source"] == "certificate" for m in materials),
        "materials_asked": sum(
            len(e["details"]["materials"]) for e in case["timeline"] if e["fact"] == "correction-required"
        ),
        "materials": [
            {"name": m["name_zh"], "outcome": m["outcome"], "source": m["source"]} for m in materials
        ],
        "timeline": [{key: e[key] for key in ("at", "service", "fact")} for e in case["timeline"]],
        "notified": case["notified"],
    }
