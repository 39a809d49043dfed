"""What was measured, as a table and as JSON."""

import json
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from tests.bench.latency import Percentiles
from tests.bench.throughput import Figures

SURVIVES = "survives_crash_between_commit_and_publish"


@dataclass(slots=True)
class Report:
    """All rounds of all parts."""

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    survives: dict[str, bool] = field(default_factory=dict)
    latency: dict[str, Percentiles] = field(default_factory=dict)

    def add(self, contender: str, figures: Figures) -> None:
        """One more round."""
        self.rounds.setdefault(contender, []).append(figures)

    def medians(self, contender: str) -> dict[str, float]:
        """Each figure's median over the rounds; empty when there was none."""
        rounds = self.rounds.get(contender, [])
        return {f.name: median(getattr(one, f.name) for one in rounds) for f in fields(Figures) if rounds}

    def as_json(self) -> str:
        """One JSON object."""
        names = list(dict.fromkeys([*self.rounds, *self.survives]))
        contenders: dict[str, dict[str, Any]] = {}
        for name in names:
            contenders[name] = {key: round(value, 2) for key, value in self.medians(name).items()}
            if name in self.survives:
                contenders[name][SURVIVES] = self.survives[name]
        latency = {
            delivery: {key: round(value, 1) for key, value in asdict(percentiles).items()}
            for delivery, percentiles in self.latency.items()
        }
        return json.dumps({"contenders": contenders, "latency_ms": latency})

    def table(self) -> str:
        """For people."""
        lines: list[str] = []
        if self.rounds or self.survives:
            heads = (
                "cases/s",
                "CPU ms",
                "deliveries",
                "statements",
                "commits",
                "survives crash",
                "onestop is",
            )
            lines.append(f"{'':10}" + "".join(f"{head:>15}" for head in heads))
            lines += [self._line(name) for name in dict.fromkeys([*self.rounds, *self.survives])]
            lines.append("CPU (of the four workers), deliveries, statements and commits are per case.")
        lines += [
            f"latency by {delivery}: p50 {percentiles.p50:.1f} ms, p99 {percentiles.p99:.1f} ms"
            for delivery, percentiles in self.latency.items()
        ]
        return "\n".join(lines)

    def _line(self, name: str) -> str:
        found = self.medians(name)
        cells = [f"{found[f.name]:.1f}" if found else "-" for f in fields(Figures)]
        cells.append(("yes" if self.survives[name] else "NO") if name in self.survives else "-")
        ours = self.medians("onestop")
        times = f"{ours['cases_per_s'] / found['cases_per_s']:.1f} times" if ours and found else "-"
        return f"{name:10}" + "".join(f"{cell:>15}" for cell in [*cells, times])
