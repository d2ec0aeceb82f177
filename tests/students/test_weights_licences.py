"""Under which licence a student's weights are: by the card beside them, or by the table."""

from __future__ import annotations

import shutil
from fnmatch import fnmatchcase

import pytest

from mcad_mobile.base.licences import find_licence
from mcad_mobile.students.load import default_directory, load_student
from mcad_mobile.students.weights_licences import WeightsLicence, published_weights, weights_licence

PUBLISHED = {
    "ViT-B-32:openai": "MIT",
    "ViT-B-32:laion2b_s34b_b79k": "MIT",
    "ViT-B-16:datacomp_xl_s13b_b90k": "MIT",
    "ViT-L-14-CLIPA:datacomp1b": "Apache-2.0",
    "ViT-B-16-SigLIP2:webli": "Apache-2.0",
    "google/siglip2-base-patch16-224": "Apache-2.0",
    "wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M": "MIT",
    "MobileCLIP-S1:datacompdr": "apple-amlr",
    "MobileCLIP2-S0:dfndr2b": "apple-amlr",
    "apple/MobileCLIP2-S4": "apple-amlr",
    "ViT-B-16:dfn2b": "apple-amlr",
    "PE-Core-T-16-384:meta": "Apache-2.0",
    "ViT-B-32-quickgelu:metaclip_400m": "CC-BY-NC-4.0",
    "ViT-H-14-worldwide:metaclip2_worldwide": "CC-BY-NC-4.0",
    "OFA-Sys/chinese-clip-vit-base-patch16": "MIT",
    "google/embeddinggemma-300m": "gemma",
    "ViTamin-S:datacomp1b": "unknown",
    "somebody/a-clip": "unknown",
    "timm/vit_base_patch32_clip_224.openai": "MIT",
    "timm/resnet50_clip.openai": "MIT",
    "timm/vit_base_patch32_clip_224.laion400m_e32": "MIT",
    "timm/vit_base_patch32_clip_224.laion2b_e16": "MIT",
    "timm/resnet101_clip.yfcc15m": "MIT",
    "timm/vit_base_patch32_clip_224.metaclip_400m": "CC-BY-NC-4.0",
    "timm/vit_base_patch16_clip_224.openai_ft_in1k": "unknown",  # trained on, with other photos
    "apple/mobileclip2_b": "apple-amlr",
    "apple/coreml-mobileclip": "apple-amlr",
    "google/embeddinggemma-2": "Apache-2.0",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_have_the_licence_of_their_publisher(name, tmp_path):
    assert weights_licence(tmp_path, name).name == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "shippable"),
    [
        *dict.fromkeys([("MIT", True), ("apache-2.0", True), ("CC-BY-4.0", True)]),
        *dict.fromkeys([("apple-amlr", False), ("CC-BY-NC-4.0", False), ("gemma", False)]),
        *dict.fromkeys([("non-commercial-research", False), ("unknown", False), ("x", False)]),
    ],
)
def test_a_licence_says_why_weights_may_not_be_shipped(name, shippable):
    assert (find_licence(name).limit == "") == shippable


def test_no_licence_is_an_unknown_one():
    assert find_licence("") == find_licence("Unknown")
    assert find_licence("").name == "unknown"


def test_every_entry_of_the_table_has_a_known_licence_and_a_page():
    for entry in published_weights():
        licence = find_licence(entry.licence)
        assert licence.page and licence.name == entry.licence
        assert entry.page.startswith("https://")


def test_every_checkpoint_of_open_clip_is_in_the_table_or_known_to_be_unknown():
    open_clip = pytest.importorskip("open_clip")
    patterns = [pattern for entry in published_weights() for pattern in entry.names]
    absent = {
        model
        for model, tag in open_clip.list_pretrained()
        if not any(fnmatchcase(f"{model}:{tag}", pattern) for pattern in patterns)
    }
    # Cards of these could not be read, or their text towers cannot be exported.
    unknown = ("ViTamin-", "nllb-clip-", "coca_", "EVA0")
    assert [model for model in sorted(absent) if not model.startswith(unknown)] == []


def test_the_card_beside_the_weights_has_the_last_word(tmp_path):
    card = tmp_path / "README.md"
    for front, name in (
        ("base_license: gpl-3.0\nlicense: mit", "MIT"),
        ("license: [apache-2.0]", "Apache-2.0"),
        ("license: other\nlicense_name: apple-amlr", "apple-amlr"),
        ("license: unknown\nlicense_name: apple-amlr", "apple-amlr"),
        ("license: apple-amlr\nlicense_name: apple-ascl", "apple-amlr"),
        ("license: openrail", "openrail"),
        ("license: unknown", "unknown"),
        ("license: other", "Apache-2.0"),
        ("license: Other", "Apache-2.0"),
        ("tags: [x]", "Apache-2.0"),
    ):
        card.write_text(f"---\n{front}\n---\nlicense: of the text\n")
        assert weights_licence(tmp_path, "google/siglip2-base-patch16-224").name == name
    card.write_bytes(b"---\nlicense: \xff\n---\n")
    assert weights_licence(tmp_path).name == "unknown"


@pytest.mark.parametrize(
    "front",
    [
        "license: [mit, cc-by-nc-4.0]",
        "license: apache-2.0,cc-by-nc-4.0",
        "license: apache-2.0 AND cc-by-nc-4.0",
        "license: (mit or 'cc-by-nc-4.0')",
        "license:\n- mit\n- cc-by-nc-4.0\ntags: [x]",
        "license:  # of code and weights\n\n  - mit\n# weights\n  - cc-by-nc-4.0",
        "license: >-\n  cc-by-nc-4.0",
        "license: [mit, other]\nlicense_name: cc-by-nc-4.0",
    ],
)
def test_of_several_licences_in_a_card_the_most_restrictive_holds(front, tmp_path):
    (tmp_path / "README.md").write_text(f"---\n{front}\nlanguage: en\n---\n")
    assert weights_licence(tmp_path, "google/siglip2-base-patch16-224").name == "CC-BY-NC-4.0"


def test_several_licences_that_let_everyone_ship_let_everyone_ship(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense:\n- mit\n- apache-2.0\n---\n")
    assert weights_licence(tmp_path).name == "MIT"


def test_the_text_beside_the_weights_goes_with_them(tmp_path):
    assert weights_licence(tmp_path).text is None
    (tmp_path / "LICENSE.md").write_text("Do what you want.")
    assert weights_licence(tmp_path).text == tmp_path / "LICENSE.md"
    for name in ("COPYING", "LICENCE.txt"):  # as others spell it
        folder = tmp_path / name.lower()
        folder.mkdir()
        (folder / name).write_text("Do what you want.")
        assert weights_licence(folder).text == folder / name
    (tmp_path / "COPYING").write_text("Do less.")
    assert weights_licence(tmp_path).text == tmp_path / "LICENSE.md"


@pytest.mark.parametrize(
    ("name", "front", "parts"),
    [
        *[("wkcn/TinyCLIP-x", "mit", ("(c) Microsoft Corporation\n", "Permission is hereby"))],
        *[("somebody/a-clip", "mit", ("(c) the authors of hf:mine\n", "Permission is hereby"))],
        *[("wkcn/TinyCLIP-x", "bsd-3-clause", ("(c) the authors of hf:mine", "endorse"))],
        *[("somebody/a-clip", "apache-2.0", ("Apache License", "END OF TERMS"))],
    ],
)
def test_weights_without_a_text_get_that_of_their_licence(name, front, parts, tmp_path):
    (tmp_path / "README.md").write_text(f"---\nlicense: {front}\n---\n")
    text = weights_licence(tmp_path, name).document("hf:mine")
    assert text is not None
    for part in parts:
        assert part in text.decode()


def test_a_text_and_a_notice_beside_the_weights_go_with_them(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (tmp_path / "NOTICE.txt").write_text("By somebody.\n")
    text = weights_licence(tmp_path).document("hf:mine")
    assert text is not None and text.decode().endswith(
        "limitations under the License.\n\nBy somebody.\n"
    )
    (tmp_path / "LICENSE").write_text("As they say.\n")
    assert weights_licence(tmp_path).document("hf:mine") == b"As they say.\n\nBy somebody.\n"


def test_a_licence_whose_text_is_not_known_has_none(tmp_path):
    assert weights_licence(None, "MobileCLIP-S1:datacompdr").document("hf:mine") is None
    assert weights_licence(None).document("hf:mine") is None


def test_the_default_student_is_for_non_commercial_research():
    licence = load_student().source.licence
    assert licence.name == "non-commercial-research"
    assert licence.text is not None and "Flickr8k" in licence.text.read_text("utf-8")


def test_a_student_of_ones_own_has_the_licence_that_its_card_says(tmp_path):
    own = shutil.copytree(default_directory(), tmp_path / "mine")
    (own / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Mine\n")
    (own / "LICENSE").write_text("Name the photographers.")
    licence = load_student(str(own)).source.licence
    assert licence == WeightsLicence("CC-BY-4.0", own / "LICENSE")
    (own / "README.md").unlink()
    assert load_student(str(own)).source.licence.name == "unknown"
