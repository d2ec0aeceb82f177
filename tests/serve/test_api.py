"""The API answers as `mcad-mobile search` does, and as its OpenAPI document describes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from PIL import Image

from mcad_mobile.engine.engine import SearchEngine, create_index
from tests.support.processes import run_command
from tests.support.servers import Server, tiny


def command_line(server: Server, *arguments: object) -> list[tuple[str, float]]:
    """Names and scores by `mcad-mobile search` with the first bundle and its index."""
    bundle = server.get("/api/status")["bundles"][0]["path"]
    done = run_command("search", *arguments, "-b", bundle, "-k", 8, "--json", check=True)
    results = json.loads(done.stdout)["results"]
    return [(Path(result["path"]).name, result["score"]) for result in results]


def hits_of(answer: Any) -> list[tuple[str, float]]:
    return [(hit["name"], pytest.approx(hit["score"], abs=1e-6)) for hit in answer["hits"]][:8]


def test_words_find_what_the_command_line_finds(served: Server) -> None:
    assert command_line(served, "a dog on the beach") == hits_of(
        served.search("a dog on the beach")
    )


def test_words_that_no_tower_can_know_are_reported(served: Server) -> None:
    assert served.search("a dog \u72d7 \U0001f415")["unknown"] == ["\u72d7", "\U0001f415"]
    assert served.search("a dog")["unknown"] == []


def test_plus_and_minus_are_those_of_the_command_line(served: Server) -> None:
    answer = served.search("a dog", {"text": "snow", "weight": 0.5}, {"text": "sea", "weight": -2})
    assert command_line(served, "a dog", "--plus", "snow=0.5", "--minus", "sea=2") == hits_of(
        answer
    )


def test_more_like_this_is_that_of_the_command_line(served: Server, photos: Path) -> None:
    hit = next(h for h in served.search("a cat")["hits"] if h["name"] == "chelsea.png")
    answer = served.search({"photo": hit["id"]})
    photo = next(photos.resolve().rglob("chelsea.png"))
    assert command_line(served, "--like", photo) == hits_of(answer)
    assert "chelsea.png" not in [found["name"] for found in answer["hits"]]
    assert answer["total"] == len(answer["hits"])


def test_an_uploaded_photo_finds_itself_among_the_indexed(served: Server, photos: Path) -> None:
    name = served.upload(next(photos.rglob("coffee.png")))
    best = served.search({"upload": name})["hits"][0]
    assert best["name"] == "coffee.png"
    assert best["score"] == pytest.approx(1, abs=0.01)


def test_all_photos_are_found_best_first(served: Server) -> None:
    answer = served.search("a dog on the beach", limit=1000)
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == answer["total"] == answer["photos"]


def test_pages_together_are_the_whole(served: Server) -> None:
    whole = served.search("a red car", limit=1000)["hits"]
    pages = [served.search("a red car", offset=n, limit=5)["hits"] for n in range(0, 20, 5)]
    assert [hit for page in pages for hit in page] == whole
    assert served.search("a red car", offset=10_000_000)["hits"] == []


def test_pages_beyond_the_first_hold_each_photo_once(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """400 photos, of which only the index knows, the 200 that are furthest from the query in a
    folder of their own; asked for as a page does that is scrolled, with and without a filter."""
    bundle = tiny(tmp_path, "bundle")
    rows = np.random.default_rng(3).normal(size=(400, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows[np.argsort(rows @ SearchEngine(bundle).embed_text("a red car"))]
    paths = [f"/nowhere/{'ab'[number >= 200]}/{number:03}.jpg" for number in range(400)]
    with create_index(bundle, tmp_path / "bundle.index").writer() as writer:
        writer.add(paths, rows)
    server = start("-b", bundle.directory)
    _, furthest, _ = server.get("/api/indexes/bundle.index/folders")
    for kept, wanted in ((400, {}), (200, {"folder": furthest["id"]})):
        pages = [
            server.search("a red car", filter=wanted, offset=offset, limit=64)
            for offset in range(0, kept, 64)
        ]
        scores = [hit["score"] for page in pages for hit in page["hits"]]
        names = [hit["name"] for page in pages for hit in page["hits"]]
        assert len(set(names)) == len(names) == kept
        assert scores == sorted(scores, reverse=True)
        assert {page["photos"] for page in pages} == {kept}


def test_without_a_query_the_newest_come_first(served: Server) -> None:
    answer = served.search(limit=1000)
    dates = [hit["taken"] for hit in answer["hits"]]
    assert dates == sorted(dates, reverse=True)
    assert len(dates) == answer["total"] == served.get("/api/status")["indexes"][0]["photos"]


def test_a_folder_holds_its_own_photos_alone(served: Server, photos: Path) -> None:
    folders = served.get("/api/indexes/first.index/folders")
    assert [(f["name"], f["depth"]) for f in folders][1:] == [("here", 1), ("there", 1)]
    for folder in folders[1:]:
        answer = served.search("a dog", filter={"folder": folder["id"]}, limit=1000)
        names = {hit["name"] for hit in answer["hits"]}
        assert names == {path.name for path in (photos / folder["name"]).iterdir()}
        assert answer["total"] == len(names) == folder["photos"]


def test_days_are_those_that_the_camera_wrote(served: Server) -> None:
    days = {"after": "2023-05-06", "before": "2023-05-06"}
    for parts in ([], [{"text": "a dog"}]):
        answer = served.search(*parts, filter=days)
        assert [hit["name"] for hit in answer["hits"]] == ["lying.jpg"]
    for other in ({"before": "2023-05-05"}, {"after": "2023-05-07"}):
        for parts in ([], [{"text": "a dog"}]):
            hits = served.search(*parts, filter=other, limit=1000)["hits"]
            assert "lying.jpg" not in [hit["name"] for hit in hits]


def test_a_comparison_marks_differences(served: Server) -> None:
    sides = {"left": {"bundle": "first"}, "right": {"bundle": "second"}}
    parts = [{"text": "a dog on the beach"}]
    found = served.post("/api/compare", {"parts": parts, **sides, "limit": 6})
    left, right = (
        [hit["id"] for hit in served.search(*parts, bundle=side, limit=6)["hits"]]
        for side in ("first", "second")
    )
    assert [hit["id"] for hit in found["left"]["hits"]] == left
    assert [hit["id"] for hit in found["right"]["hits"]] == right
    assert left != right
    only_left = [hit["id"] for hit in found["left"]["hits"] if hit["only_here"]]
    assert only_left == [photo for photo in left if photo not in right]
    assert found["shared"] == 6 - len(only_left)
    for hit in found["left"]["hits"]:
        if not hit["only_here"]:
            assert hit["elsewhere"] == right.index(hit["id"]) + 1


def test_photos_are_given_upright_small_and_without_their_metadata(served: Server) -> None:
    hit = next(h for h in served.search(limit=1000)["hits"] if h["name"] == "lying.jpg")
    for kind in ("thumbnail", "view"):
        status, headers, body = served.request(
            "GET", f"/api/indexes/first.index/photos/{hit['id']}/{kind}"
        )
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        image = Image.open(io.BytesIO(body))
        assert image.size == (32, 64)
        assert not image.getexif()
        red, green, _ = image.convert("RGB").getpixel((16, 4))
        assert red > 200 > green


def test_large_photos_become_small(served: Server) -> None:
    hit = next(h for h in served.search(limit=1000)["hits"] if h["name"] == "retina.jpg")
    path = f"/api/indexes/first.index/photos/{hit['id']}/thumbnail"
    status, headers, body = served.request("GET", path)
    assert min(Image.open(io.BytesIO(body)).size) == 320
    # What is typed and taken back within a minute is not asked for again.
    assert headers["cache-control"] == "private, max-age=60"
    again = served.request("GET", path, if_none_match=headers["etag"])
    assert (status, again[0], again[2]) == (200, 304, b"")


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/openapi.json"])
def test_what_another_version_changes_is_asked_for_each_time(served: Server, path: str) -> None:
    assert served.request("GET", path)[1]["cache-control"] == "no-cache"


def test_the_openapi_document_is_valid(served: Server) -> None:
    document = served.get("/openapi.json")
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_answers_match_the_openapi_document(served: Server) -> None:
    document = served.get("/openapi.json")
    sides = {"left": {}, "right": {"bundle": "second"}}
    compared = served.post("/api/compare", {"parts": [{"text": "a dog"}], **sides})
    answers = [
        ("/api/status", "get", served.get("/api/status")),
        ("/api/indexes/{index}/folders", "get", served.get("/api/indexes/first.index/folders")),
        ("/api/search", "post", served.search("a dog")),
        ("/api/compare", "post", compared),
    ]
    for path, method, answer in answers:
        response = document["paths"][path][method]["responses"]["200"]["content"][
            "application/json"
        ]
        check(document, response["schema"], answer)
    problem = document["components"]["schemas"]["Problem"]
    for broken in ({"parts": 1}, {"parts": [{"text": ""}]}, {"bundle": "nowhere"}, {"colour": 1}):
        answer = served.post("/api/search", broken, status=422)
        check(document, problem, answer)
        assert answer["hint"]


def check(document: Any, schema: Any, answer: Any) -> None:
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole).validate(answer)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"parts": [{"text": "   "}]}, "is empty"),
        ({"parts": [{"text": "a", "photo": "b"}]}, "one of text, photo and upload"),
        ({"parts": [{"text": "a", "weight": 0}]}, "weight of 0"),
        ({"parts": [{"text": "a", "weight": 10.5}]}, "parts[0].weight"),
        ({"parts": [{"text": "a", "weight": -10.5}]}, "parts[0].weight"),
        ({"parts": [{"text": "a"}] * 17}, "parts"),
        ({"parts": [{"photo": "00000000000000000000"}]}, "No index holds"),
        ({"parts": [{"upload": "0000"}]}, "no uploaded photo"),
        ({"parts": [{"text": "a"}, {"text": "a", "weight": -1}]}, "cancel out"),
        ({"rung": "qnn w8a16"}, "no text tower"),
        ({"index": "elsewhere"}, "no index"),
        ({"filter": {"folder": "/etc"}}, "no folder"),
        ({"filter": {"after": "2023-02-30"}}, "filter.after"),
        ({"filter": {"after": "2024-01-02", "before": "2024-01-01"}}, "Swap the dates"),
        ({"offset": -1}, "offset"),
        ({"offset": 10_000_001}, "offset"),
        ({"limit": 100_000}, "limit"),
    ],
)
def test_a_wrong_request_gets_a_reason(
    served: Server, document: dict[str, Any], message: str
) -> None:
    answer = served.post("/api/search", document, status=422)
    assert message in f"{answer['error']} {answer['hint']}"


def test_a_comparison_has_words_and_at_most_200_photos_a_side(served: Server) -> None:
    sides = {"left": {}, "right": {}}
    for wrong in ({"parts": []}, {"parts": [{"text": "a"}], "limit": 201}):
        served.post("/api/compare", {**sides, **wrong}, status=422)
    right = {"parts": [{"text": "a", "weight": -10}] * 16, "limit": 200}
    assert served.post("/api/compare", {**sides, **right})["shared"]
