"""The land that a spec asks for."""

from __future__ import annotations

from core.atlas.land import Block, Land
from core.errors import SpecError
from core.models.model import Model
from core.spec import AtlasSpec


def plan_land(spec: AtlasSpec, model: Model) -> tuple[Land, dict[Block, str]]:
    """Return the land of a spec, and the key of each of its blocks.

    Raises:
        SpecError: if the spec has no land.
    """
    raise SpecError(f"expected a spec with the key land, {spec.name} has none")
