"""Every command that people give over HTTP fails at each of its commits, before and after it is done.

People repeat what was not answered; the case must end as it does when nothing fails. That a killed process
changes nothing of this is shown by the drill, with a web process that is killed at the same points.
"""

from shared import faults
from tests.support.installation import GAP, Installation, db_installation, secrets_dir, template_settings
from tests.support.journey import Journey, all_of, open_hall, trace

__all__ = ["db_installation", "secrets_dir", "template_settings"]

COMMANDS = {
    "session.open",
    "case.submit",
    "case.supply",
    "upload",
    "task.claim",
    "task.release",
    "task.decide",
}
"""What writes. A reading notes at most that it was done, and is simply done again."""


def test_a_command_that_fails_at_any_point_is_done_once(db_installation: Installation) -> None:
    who = db_installation.citizen(GAP)
    with open_hall(db_installation) as client:
        undisturbed = Journey(who, client.request, db_installation.pump)
        points = [point for point in trace(undisturbed) if point.partition(".commit.")[0] in COMMANDS]
        assert len(points) == 2 * len(COMMANDS), "each commits, and has a point before and after it"
        expected = all_of(db_installation, undisturbed)
        for point in points:
            faults.plan_faults(f"{point}:1:raise")
            journey = Journey(who, client.request, db_installation.pump)
            journey.run()
            assert journey.repeated == 1, f"{point} was not met"
            found = all_of(db_installation, journey)
            assert (found - expected, expected - found) == ({}, {}), point
