"""What a citizen is still asked for."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from shared.events.materials import MET


def still_asked(asked: Iterable[str], materials: Collection[Mapping[str, Any]]) -> list[str]:
    """Of what the one notice asked for, what was not met since then by a certificate whose holder agreed."""
    met = {material["material"] for material in materials if material["outcome"] in MET}
    return [code for code in asked if code not in met]
