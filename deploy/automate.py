"""Create the automations in deploy/automations, or replace those of the same names: python deploy/automate.py [ADDRESS]

ADDRESS is a webhook, such as one of a chat, which is called with {"text": "..."} when a run fails or a night is
skipped. Without an address only the automations for lost machines are made. `prefect automation create` makes another
automation of the same name each time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.utilities.asyncutils import run_coro_as_sync

import isthmus

isthmus.find_our_packages()  # and not packages of the same names in PYTHONPATH

from flows.prefect_server import check_server  # noqa: E402

_WEBHOOK = "isthmus-webhook"
_FOLDER = Path(__file__).with_name("automations")


def main() -> None:
    """Create or replace every automation that needs no webhook, and the others too if there is an address."""
    check_server()
    webhook = None
    if len(sys.argv) > 1:
        webhook = str(Webhook(method="POST", url=sys.argv[1]).save(_WEBHOOK, overwrite=True))
    for path in sorted(_FOLDER.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if "WEBHOOK" in text.partition("actions:")[2]:
            if webhook is None:
                print(f"{path.name} left out, because it needs the address of a webhook")
                continue
            text = text.replace("block_document_id: WEBHOOK", f"block_document_id: {webhook}")
        run_coro_as_sync(_create_or_replace(yaml.safe_load(text)))
        print(f"{path.name} is in place")


async def _create_or_replace(content: dict[str, Any]) -> None:
    automation = AutomationCore.model_validate(content)
    async with get_client() as client:
        first, *others = await client.read_automations_by_name(automation.name) or [None]
        if first is None:
            await client.create_automation(automation)
        else:
            await client.update_automation(first.id, automation)
        for other in others:
            if other is not None:
                await client.delete_automation(other.id)


if __name__ == "__main__":
    main()
