"""What a crash between commit and publish does: proven by a kill exactly there."""

import signal

from deploy.processes import wait_until
from deploy.services import SERVICES
from tests.bench.contenders import Contender
from tests.bench.seed import held_cases
from tests.bench.servers import Servers, tell
from tests.bench.throughput import home

WHO = "materials"
PATIENCE_S = 20.0
_DEATH_S = 30.0


def survives(servers: Servers, contender: Contender) -> bool:
    """Kill the worker of materials after its first commit, restart it: does the case still come through?"""
    tell(f"crash between commit and publish: {contender.name}")
    with servers.place(f"{contender.name}_crash") as place:
        contender.prepare(place)
        plan = {"ONESTOP_FAULT_PLAN": f"{contender.crash_point}:1:kill"}
        workers = {
            service: contender.start_worker(place, service, plan if service == WHO else None)
            for service in SERVICES
        }
        place.await_ready([worker.ready for worker in workers.values()])
        contender.release(place, held_cases(place, 0, 1))()
        victim = workers[WHO].process
        if not wait_until(lambda: victim.poll() is not None, _DEATH_S):
            raise RuntimeError(f"{contender.name}: nobody passed {contender.crash_point}")
        assert victim.returncode == -signal.SIGKILL, victim.returncode
        assert place.ask("SELECT count(*) FROM materials.cases")[0] == 1, "it died before its commit"
        place.forget(victim)
        place.await_ready([contender.start_worker(place, WHO).ready])
        through = wait_until(lambda: home(place) == 1, PATIENCE_S, every_s=0.2)
    tell(f"  {'the case came through' if through else f'the case is stuck after {PATIENCE_S:.0f} s'}")
    return through
