"""Words are found however they are written."""

from __future__ import annotations

import pytest

from mcad_mobile.engine.words.folding import MOST_LETTERS, fold


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Boarding PASS", ["boarding", "pass"]),
        ("/home/me/IMG_2024-05.jpg", ["home", "me", "img", "2024", "05", "jpg"]),
        ("Żółć, Crème brûlée; Größe", ["zolc", "creme", "brulee", "grosse"]),
        ("Smørrebrød œuvre ÞÓR Đà Nẵng", ["smorrebrod", "oeuvre", "thor", "da", "nang"]),
        ("İstanbul ISPARTA ılık", ["istanbul", "isparta", "ilik"]),
        ("ΑΘΉΝΑΣ Αθήνας", ["αθηνασ", "αθηνασ"]),
        ("Ｆｕｌｌ　ｗｉｄｔｈ ﬁn ½", ["full", "width", "fin", "1", "2"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("ｶﾞｲﾄﾞ", ["ガイ", "イド"]),
        ("犬", ["犬"]),
        ("JR東日本line2", ["jr", "東日", "日本", "line2"]),
        ("กรุง", ["กร", "รุ", "ุง"]),
        ("서울 हिन्दी", ["서울", "हिन्दी"]),
        ("don't 12,40 €", ["don", "t", "12", "40"]),
        ("\u200fשלום\u202e\x1b[31m", ["שלום", "31m"]),
        ("", []),
        (" \n\t…", []),
    ],
)
def test_a_text_has_these_terms(text: str, terms: list[str]) -> None:
    assert fold(text) == terms
    assert fold(" ".join(terms)) == terms


def test_a_long_text_takes_no_longer_than_its_length_and_a_long_word_is_cut() -> None:
    assert fold("a" * 1_000_000) == ["a" * MOST_LETTERS]
    assert len(fold("語" * 100_000)) == 99_999
