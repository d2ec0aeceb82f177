"""No figure on a page without its source: what `make check` says of changed figures, of changed
results and of new figures."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
sys.path.insert(0, str(ROOT / "scripts"))

import check_figures  # noqa: E402
import figures  # noqa: E402
from check_figures import complaints, hand_written, renew  # noqa: E402
from figures import given, stored  # noqa: E402
from sentences import sentences  # noqa: E402
from sentences.results import Results  # noqa: E402

SPEED = stored("takes {:.1f} ms and {:,} bytes", 4.46, 1200)


def told(text: str, *known: figures.Sentence) -> list[str]:
    return [problem.told("page.md", text) for problem in figures.problems(text, known)]


@pytest.fixture
def pages(tmp_path) -> Path:
    """A copy of all pages that are checked."""
    for page in hand_written():
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    return tmp_path


def test_every_figure_of_the_pages_has_its_source():
    assert complaints(sentences()) == []


def test_a_new_page_is_checked_without_being_listed(pages):
    (pages / "docs" / "new.md").write_text("# New\n\nIt takes 5 ms.\n", "utf-8")
    (complaint,) = complaints(sentences(), pages)
    assert complaint.startswith("docs/new.md:3: '5 ms' comes from no stored result")


def test_a_changed_figure_is_named_with_its_line_and_made_right_again(pages):
    readme = pages / "README.md"
    text = readme.read_text("utf-8")
    told_there = re.search(r"(\d+\.\d) ms and \d+ MiB", text)
    assert told_there
    figure, (start, end) = told_there[1], told_there.span(1)
    readme.write_text(f"{text[:start]}99.5{text[end:]}", "utf-8")
    line = text[:start].count("\n") + 1
    (complaint,) = complaints(sentences(), pages)
    assert complaint.startswith(f"README.md:{line}: '99.5' is stored as {figure}")
    assert "make docs" in complaint
    renew(sentences(), pages)
    assert readme.read_text("utf-8") == text


def test_a_changed_result_is_noticed_on_each_page_that_tells_it(pages, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(RESULTS, results)
    recall = json.loads((results / "recall.json").read_text("utf-8"))
    changed = recall["whole"]["float"]["mean_recall"] + 1
    recall["whole"]["float"]["mean_recall"] = changed
    (results / "recall.json").write_text(json.dumps(recall), "utf-8")
    found = complaints(sentences(Results(results)), pages)
    assert {complaint.partition(":")[0] for complaint in found} == {
        "README.md",
        "docs/targets.md",
        "models/mcad-s/README.md",
    }
    assert all(f"is stored as {changed:.1f}" in complaint for complaint in found)


@pytest.mark.parametrize(
    "said",
    [
        "A search takes 12 ms.",
        "It takes 1 to 2 minutes.",
        "Memory: **41 MB**",
        "recall is 0.97",
        "mR 56.6 of 56.7",
        "| ours | 0.9986 / 0.99 |",
        "three times as fast",
        "Half a point, or half a point less",
        "it is 20 % slower",
        "2.5 times the memory",
        "a range of 50-60 ms",
        "found 7/8 MiB",
        "it embeds 40 photos a second",
    ],
)
def test_a_figure_that_nothing_stands_behind_is_named_with_its_line(pages, said):
    page = pages / "docs" / "bench.md"
    lines = page.read_text("utf-8").count("\n")
    with page.open("a", encoding="utf-8") as file:
        file.write(f"\n{said}\n")
    found = complaints(sentences(), pages)
    assert found
    for complaint in found:
        assert complaint.startswith(f"docs/bench.md:{lines + 2}: '")
        assert complaint.endswith("comes from no stored result")


@pytest.mark.parametrize(
    "said",
    [
        "It prints 12 ms:\n\n    search 12 ms\n\n```\n0.97\n```\n".replace("It prints 12 ms", "So"),
        "`mR 56.6`, ONNX Runtime 1.29, numpy 2.4.6, Python 3.11, https://a.example/1.5 and 7 x 7",
        "It is 56.6 (by `mcad-mobile eval --data flickr8k`).",
        "As `mcad-mobile export` prints it:\n\n| tower | cosine |\n|---|---|\n| ours | 0.9986 |",
        "<!-- students: made by `make docs` -->\n\n| ours | 0.9986 |\n\n<!-- students: end -->",
        "ViT-B-16 GB-1.5, 256 dimensions, 40,000 photos, w8a16, page 3 of 7, 300 bytes",
    ],
)
def test_code_versions_made_sections_and_what_a_command_prints_are_no_complaint(said):
    assert told(said) == []


def test_a_command_speaks_for_its_own_sentence_and_for_tables_under_its_heading_alone():
    text = "By `mcad-mobile eval` it is 56.6. Another is 57.7.\n\n## Next\n\n| 0.98 |\n"
    assert [complaint.split(" ")[1] for complaint in told(text)] == ["'57.7'", "'0.98'"]


def test_a_sentence_is_found_however_its_lines_are_broken_and_its_other_figures_count():
    assert told("It takes 4.5 ms\nand 1,200 bytes.", SPEED) == []
    (complaint,) = told("At 3 GB it takes 4.5 ms and\n1,200 bytes.", SPEED)
    assert complaint.startswith("page.md:1: '3 GB' comes from no stored result")


def test_figures_of_a_stored_sentence_that_are_no_places_need_a_source_of_their_own():
    (complaint,) = told("It takes 4.5 ms of 8 ms.", stored("takes {:.1f} ms of 8 ms", 4.46))
    assert "'8 ms' comes from no stored result" in complaint


def test_a_sentence_that_is_gone_is_told():
    (complaint,) = told("Nothing here.", SPEED)
    assert "takes {:.1f} ms" in complaint and "no such sentence" in complaint


def test_a_reason_covers_its_own_words_or_the_section_under_its_heading():
    target = given("The target is 8 ms", "a target")
    assert told("The target is 8 ms.", target) == []
    assert len(told("The target is 8 ms, and we take 9 ms.", target)) == 1
    example = given("## Example", "tests/unit/test_figures.py")
    assert len(told("## Example\n\nx = 0.5\n\n## More\n\ny = 0.6\n", example)) == 1


def test_a_reason_is_a_target_an_address_or_a_file_that_is_there(pages):
    known = {"README.md": [given("## Limits", "because we say so")]}
    assert any("because we say so" in line for line in complaints(known, pages))


def test_the_check_fails_and_says_what_to_do_or_that_all_is_well(monkeypatch, capsys):
    for found, code in ((["page.md:1: '5 ms' comes from no stored result"], True), ([], False)):
        monkeypatch.setattr(check_figures, "complaints", lambda pages, found=found: found)
        with pytest.raises(SystemExit) as ended:
            check_figures.main()
        assert ended.value.code == code
        told = capsys.readouterr().out
        assert all(line in told for line in found)
        assert ("scripts/sentences" in told and "command that prints" in told) == code


def test_values_and_places_go_together():
    with pytest.raises(ValueError, match="as many values as places"):
        stored("takes {:.1f} ms and {:.0f} MiB", 1.0)
    with pytest.raises(ValueError, match="or a reason"):
        given("takes 5 ms", "")
