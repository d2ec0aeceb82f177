"""Pretrained weights compute in our towers what they compute in their library."""

from __future__ import annotations

import torch
from transformers import BertModel

from mcad_mobile.distill.pretrained import load_minilm, minilm_directory, minilm_tokenizer
from mcad_mobile.students.text_transformer import TextConfig, TextTower

LAYERS, WIDTH = 3, 384


@torch.no_grad()
def test_the_first_layers_of_minilm_are_those_of_transformers() -> None:
    reference = BertModel.from_pretrained(minilm_directory(), add_pooling_layer=False).eval()
    vocab = reference.config.vocab_size
    tower = TextTower(TextConfig(vocab, 32, layers=LAYERS, embedding_rank=WIDTH), 1).eval()
    load_minilm(tower, torch.ones(vocab))
    texts = ["a dog on the beach", "Two children play football in the park."]
    ids, mask = map(torch.from_numpy, minilm_tokenizer().batch(texts))
    states = reference(ids.long(), mask.long(), output_hidden_states=True).hidden_states[LAYERS]
    expected = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    assert torch.allclose(tower.mean(ids.long(), mask), expected, atol=1e-3)
