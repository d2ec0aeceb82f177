"""Pages that are made from the code stay true to it."""

from __future__ import annotations

import hashlib
import json
import re
from types import SimpleNamespace

import pytest

from mcad_mobile.engine.bundle import (
    BundleDocument,
    Golden,
    Rung,
    StudentFacts,
    TargetFacts,
    TensorSpec,
    Tower,
)
from scripts import make_docs
from scripts.pages.site import OUTSIDE, on_page_markdown
from tests.support.paths import ROOT

pytestmark = pytest.mark.long


def test_generated_pages_are_up_to_date():
    assert make_docs.stale_pages() == [], "run make docs"


def test_check_names_the_page_that_differs_and_how_to_write_it(tmp_path):
    for name in make_docs.PAGES:
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    chips = tmp_path / "docs" / "chips.md"
    chips.write_text(chips.read_text("utf-8").replace("SM8750", "SM8751"), "utf-8")
    with pytest.raises(SystemExit) as stopped:
        make_docs.main(["--check"], tmp_path)
    assert stopped.value.code == "docs/chips.md is out of date: run make docs"


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not link.startswith(("http://", "https://")):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_links_and_pictures_of_the_readme_lead_somewhere_on_the_site():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="README.md"))
    text = on_page_markdown((ROOT / "README.md").read_text("utf-8"), page, None, None)
    found = re.findall(r"(?:\]\(|<img src=\")([^)#:\"]+)", text)
    on_site = {*OUTSIDE, *(name for name in found if (ROOT / "docs" / name).exists())}
    assert {"screens/found.webp", "quickstart.md", "CONTRIBUTING.md"} <= {*found}
    assert {*found} <= on_site


def test_messages_of_the_page_for_trouble_are_those_that_the_program_prints():
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    entries = re.findall(r"^\*\*(.*?)\*\*", page, flags=re.MULTILINE)
    messages = [message for entry in entries for message in re.findall("`(.+?)`", entry)]
    files = [path for kind in ("py", "js") for path in (ROOT / "mcad_mobile").rglob(f"*.{kind}")]
    # A message that is broken into lines is one all the same.
    sources = "\n".join(re.sub(r'"\s*f?"', "", path.read_text("utf-8")) for path in files)
    assert len(messages) >= 5
    assert [message for message in messages if message not in sources] == []


def test_the_shipped_student_says_which_run_it_is():
    student = ROOT / "models" / "mcad-s"
    run = json.loads((student / "training.json").read_text("utf-8"))["run"]
    recipe = (student / "recipe.json").read_bytes()
    result = json.loads((ROOT / run.partition(" ")[0]).read_text("utf-8"))
    shipped = json.loads(recipe)
    del shipped["arithmetic"]  # it makes no other run
    assert result["recipe"] == shipped
    assert hashlib.sha256(recipe).hexdigest() in run
    assert f"of {result['date']}: seed {result['recipe']['seed']}," in run


def test_the_page_of_bundles_has_every_field():
    page = (ROOT / "docs" / "bundle.md").read_text("utf-8")
    for struct in (BundleDocument, Tower, Rung, Golden, StudentFacts, TargetFacts, TensorSpec):
        for field in struct.__struct_fields__:
            assert f"`{field}`" in page, f"{struct.__name__}.{field}"
