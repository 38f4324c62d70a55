"""The form of a build on the pages of Prefect, filled in by a person in a real browser, with a real server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from job import PATIENCE_SECONDS, wait_for
from prefect_parts import PrefectServer, make_home

from core.spec import AllPairs, AtlasSpec, ListedPairs, NearestPairs, RandomPairs, RenderSettings

PAIRS = "The pairs of the atlas"
NEURONS = "block1:0-3"
IDLE_SERVICES = "SCHEDULER LATE_RUNS FOREMAN CANCELLATION_CLEANUP PAUSE_EXPIRATIONS REPOSSESSOR TRIGGERS".split()
"""Services of the server that look for work every few seconds; a form needs none of them."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server with the deployment `form` of build-atlas, whose parameters it checks as those of any deployment."""
    from prefect.utilities.callables import parameter_schema

    from flows.build_atlas import build_atlas

    with pytest.MonkeyPatch.context() as environment:
        for service in IDLE_SERVICES:
            environment.setenv(f"PREFECT_SERVER_SERVICES_{service}_ENABLED", "false")
        made = PrefectServer(make_home(tmp_path_factory.mktemp("prefect"))).start()
    try:
        made.post("work_pools/", {"name": "cpu", "type": "process"})
        flow = made.post("flows/", {"name": "build-atlas"})
        schema = parameter_schema(build_atlas).model_dump()
        deployment = {"name": "form", "flow_id": flow["id"], "work_pool_name": "cpu", "enforce_parameter_schema": True}
        made.post("deployments/", deployment | {"parameter_openapi_schema": schema})
        yield made
    finally:
        made.kill()


class Form:
    """The form on the new version of Prefect's pages."""

    def __init__(self, page: Page, server: PrefectServer) -> None:
        [deployment] = server.find("deployments")
        self.page = page
        page.goto(f"{server.api.removesuffix('/api')}/v2/deployments/deployment/{deployment['id']}/run")
        page.get_by_text("Name of the atlas, and of").wait_for()

    def after(self, description: str, what: str, number: int = 1) -> Locator:
        """Return the element that follows the description of a field."""
        return self.page.locator(f"xpath=//*[starts-with(normalize-space(text()), '{description}')]").first.locator(
            f"xpath=following::{what}[{number}]"
        )

    def choose_pairs(self, kind: str) -> None:
        """Choose how the pairs are selected."""
        field = self.page.get_by_text({"list": "Pairs of neurons, each"}.get(kind, "Neurons layer:channel and"))

        def chosen() -> bool:  # the page drops what is chosen before it has loaded completely
            self.after(PAIRS, f"*[not(*) and normalize-space()='{kind}']").click()
            self.page.wait_for_timeout(200)
            return field.is_visible()

        wait_for(chosen, f"the fields of {kind}")
        self.after("Name of the atlas, and of", "textarea").fill("formed")

    def add(self, description: str, number: int = 1) -> None:
        def items() -> tuple[int, int]:
            return self.page.get_by_role("button", name="Add item").count(), self.page.locator("textarea").count()

        before = items()
        self.after(description, "button[contains(., 'Add item')]", number).click()
        wait_for(lambda: items() != before, "another item")

    def choose_plain(self) -> None:
        self.after("fast: first the two ends", "button[normalize-space()='fast']").click()
        self.page.get_by_role("option", name="plain").click()

    def submit(self) -> tuple[int, dict[str, Any]]:
        """Send the form, and return the status of the server's answer and the spec that was sent."""
        with self.page.expect_response(
            lambda answer: answer.request.method == "POST" and answer.url.endswith("/create_flow_run")
        ) as found:
            self.page.get_by_role("button", name="Submit").click()
        sent = json.loads(found.value.request.post_data or "{}")
        return found.value.status, sent["parameters"]["spec"]


@pytest.fixture
def open_form(browser: Browser, server: PrefectServer) -> Iterator[Callable[[], Form]]:
    """Open the form, each time on the same page of the browser, which then has loaded Prefect's scripts."""
    context = browser.new_context(viewport={"width": 1280, "height": 2000}, reduced_motion="reduce")
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    yield lambda: Form(page, server)
    context.close()


def test_what_the_form_sends_is_accepted(open_form: Callable[[], Form]) -> None:
    """With every selection of pairs, the server and the flow accept what the form sends; the rest are the defaults."""
    form = open_form()
    form.choose_pairs("list")
    form.add("Pairs of neurons, each")
    for number in (1, 2):
        form.add("Pairs of neurons, each")
        form.after("Pairs of neurons, each", "textarea", number).fill(f"block1:{number}")
    accepted(form, pairs=ListedPairs(select="list", list=(("block1:1", "block1:2"),)))

    form = open_form()
    form.choose_pairs("random")
    form.add("Neurons layer:channel and")
    form.after("Neurons layer:channel and", "textarea").fill(NEURONS)
    form.after("Number of pairs.", "input").fill("2")
    accepted(form, pairs=RandomPairs(select="random", neurons=(NEURONS,), n=2))

    for kind, pairs in (
        ("all", AllPairs(select="all", neurons=(NEURONS,))),
        ("nearest", NearestPairs(select="nearest", neurons=(NEURONS,))),
    ):
        form = open_form()
        form.choose_pairs(kind)
        form.add("Neurons layer:channel and")
        form.after("Neurons layer:channel and", "textarea").fill(NEURONS)
        if kind == "nearest":
            form.choose_plain()
        accepted(form, pairs=pairs, render=RenderSettings(schedule="plain" if kind == "nearest" else "fast"))


def accepted(form: Form, **values: Any) -> None:
    """Assert that the server takes what the form sends, and that the flow reads it as a spec with these values."""
    status, sent = form.submit()
    while status == HTTPStatus.SERVICE_UNAVAILABLE:  # the server's database is busy; a person would try again
        status, sent = form.submit()
    assert status == HTTPStatus.CREATED
    assert AtlasSpec.model_validate(sent) == AtlasSpec(name="formed", **values)
