"""A text tower that is given token rows instead of ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import Tensor, nn

from mcad_mobile.errors import StudentError
from mcad_mobile.students.rewrites.finite_masks import causal_scores, padding_scores

Hides = Literal["future", "padding", "nothing"]


class RowTower(nn.Module):
    """Token rows [B, L, W], mask [B, L] (1 token, 0 padding) and pooling weights [B, L], all
    float32 -> embeddings [B, dim] float32, not normalized.

    The token table stays outside: it is half of CLIP's text tower, a query reads ten rows of it,
    and NPU compilers take no gather. So does the search for the end of the text. The parts are a
    library's own: `layers` take states [B, L, width] and scores to add to the attention's, or None.
    `hides`: what a token does not attend to. Tokens after the one that is pooled change nothing
    where that is the future. L is at most `length`.
    """

    def __init__(
        self,
        positions: Tensor,
        layers: Iterable[nn.Module],
        head: nn.Module,
        *,
        hides: Hides,
        length: int,
        hidden_score: float,
        widen: nn.Module | None = None,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if length > len(positions):
            raise StudentError(
                f"A text of this student has up to {length} tokens, and its tower knows "
                f"{len(positions)} positions.",
                "Tokenizer and weights do not belong together: give both of one checkpoint.",
            )
        self.hides = hides
        self.hidden_score = hidden_score
        self.widen = widen or nn.Identity()
        self.before = before or nn.Identity()
        self.layers = nn.ModuleList(layers)
        self.after = after or nn.Identity()
        self.head = head
        self.register_buffer("positions", positions[:length].detach().clone())
        if hides == "future":
            self.register_buffer("causal", causal_scores(length, hidden_score))

    def forward(self, token_rows: Tensor, attention_mask: Tensor, pooling: Tensor) -> Tensor:
        length = token_rows.shape[1]
        x = self.before(self.widen(token_rows) + self.get_buffer("positions")[:length])
        scores = None
        if self.hides == "future":
            scores = self.get_buffer("causal")[:, :, :length, :length]
        elif self.hides == "padding":
            scores = padding_scores(attention_mask, self.hidden_score)
        for layer in self.layers:
            x = layer(x, scores)
        # What is hidden never enters an embedding. It also keeps the mask an input of each graph,
        # so that hosts feed all students alike.
        weights = (pooling * attention_mask)[:, None, :]
        return self.head((weights @ self.after(x)).squeeze(1))  # type: ignore[no-any-return]
