"""What a research group does on the Model page with checkpoints of its own: choose, compare, roll back, and be refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from model.train.checkpoint import load_checkpoint, save_checkpoint
from tests.browser.conftest import served
from tests.browser.test_case_page import risk


@pytest.fixture(scope="module")
def registry_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard started on a folder with the shipped checkpoint at twice its temperature, and that one damaged."""
    root = tmp_path_factory.mktemp("registry")
    shipped = load_checkpoint()
    card = {**shipped.card, "name": "soft"}
    save_checkpoint(replace(shipped, temperature=2 * shipped.temperature, card=card), root / "soft")
    shutil.copytree(root / "soft", root / "damaged")
    (root / "damaged" / "llnm_net.safetensors").write_bytes(b"nothing")
    with served(tmp_path_factory.mktemp("server"), "--checkpoints", str(root)) as address:
        yield address


def still(page) -> None:  # type: ignore[no-untyped-def]
    """Until nothing on a page without plots is being computed."""
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stSpinner]') && !document.querySelector('[data-testid=stStatusWidget]')"
    )
    page.wait_for_timeout(400)


def about(page, address: str) -> None:  # type: ignore[no-untyped-def]
    page.goto(address + "about")
    page.get_by_role("heading", name="Checkpoints").wait_for()
    still(page)


def shown_risk(page, address: str) -> str:  # type: ignore[no-untyped-def]
    page.goto(address)
    page.get_by_text("Calibrated probability").wait_for()
    still(page)
    return risk(page)


def test_model_page_fits(page, registry_address: str, width: int) -> None:  # type: ignore[no-untyped-def]
    page.set_viewport_size({"width": width, "height": 1000})
    about(page, registry_address)
    page.get_by_text("damaged is refused").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for role, label in (("button", "Use it on every page"), ("link", "Compare it with the one in use")):
        box = page.get_by_role(role, name=label).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_a_checkpoint_is_chosen_compared_and_rolled_back(page, registry_address: str) -> None:  # type: ignore[no-untyped-def]
    before = shown_risk(page, registry_address)
    about(page, registry_address)  # one that can be used is offered first
    page.get_by_role("button", name="Use it on every page").click()
    page.get_by_text("is now in use").wait_for()
    soft = shown_risk(page, registry_address)
    assert soft != before

    about(page, registry_address)  # what was in use before is offered first
    page.get_by_role("link", name="Compare it with the one in use").click()
    page.wait_for_url("**/compare?**")
    for figure in (before, soft):
        page.get_by_text(figure).first.wait_for()

    about(page, registry_address)
    box = page.get_by_role("combobox", name="Another checkpoint")
    box.click()
    box.fill("damaged")
    page.get_by_role("option", name="damaged (refused)").click()
    still(page)
    page.get_by_role("button", name="Use it on every page").click()
    page.get_by_text("does not match its card").last.wait_for()
    assert shown_risk(page, registry_address) == soft

    about(page, registry_address)
    page.get_by_role("button", name="Roll back to shipped").click()
    page.get_by_text("Rolled back to").wait_for()
    assert shown_risk(page, registry_address) == before
