"""What was measured, as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from tests.bench.latency import Percentiles
from tests.bench.throughput import Figures

SURVIVES = "survives_crash_between_commit_and_publish"
CPU = "cpu_ms_by_process"
_WORST = ("errors",)
"""Of these no round may hide another."""


@dataclass(slots=True)
class Report:
    """All rounds of all parts."""

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    survives: dict[str, bool] = field(default_factory=dict)
    latency: dict[str, Percentiles] = field(default_factory=dict)
    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of every other part, by its name: the figures of each round."""

    def add_part(self, name: str, figures: object) -> None:
        """One more round of a part; its figures are a dataclass."""
        self.parts.setdefault(name, []).append(asdict(figures))  # type: ignore[call-overload]

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
        return json.dumps({"contenders": contenders, "latency_ms": latency, **self.parts_found()})

    def parts_found(self) -> dict[str, Any]:
        """The other parts by name, medians over the rounds; what each process used stands beside them."""
        found = {name: middle(rounds) for name, rounds in self.parts.items()}
        if CPU in found.get("whole", {}):
            found[CPU] = found["whole"].pop(CPU)
        return found

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
        lines += [f"{name}: {json.dumps(figures)}" for name, figures in self.parts_found().items()]
        return "\n".join(lines)

    def _line(self, name: str) -> str:
        found = self.medians(name)
        cells = [f"{found[f.name]:.1f}" if found else "-" for f in fields(Figures)]
        cells.append(("yes" if self.survives[name] else "NO") if name in self.survives else "-")
        ours = self.medians("onestop")
        times = f"{ours['cases_per_s'] / found['cases_per_s']:.1f} times" if ours and found else "-"
        return f"{name:10}" + "".join(f"{cell:>15}" for cell in [*cells, times])


def middle(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each figure's median over the rounds, also of those that stand one level deeper."""
    found: dict[str, Any] = {}
    for name in rounds[0]:
        values = [one[name] for one in rounds if name in one]
        if isinstance(values[0], Mapping):
            found[name] = middle(values)
        else:
            found[name] = max(values) if name in _WORST else _rounded(median(values))
    return found


def _rounded(value: float) -> float:
    return round(value, 2) if value < 100 else round(value)
