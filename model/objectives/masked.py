"""Masked LM (Devlin et al. 2018): some tokens are hidden and predicted from both sides.

    row        b  the cat  sat on the  mat e        b bos, e eos: never chosen
    chosen         ^            ^
    inputs     b  the <m>  sat on dog mat e         80 % mask, 10 % another token, 10 % as it was
    targets    b  the cat  sat on the  mat e        the row itself; loss on the chosen ones only

B rows, T positions, M most chosen positions of a row (the same for all rows of a length T, so that
shapes never change from step to step and the device need not be asked how many there are).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from model.batch import AttentionPattern
from model.errors import ModelError
from model.objectives.rows import Arrays, Objective, RowKeys, Vocabulary
from model.settings import FORBID_EXTRA, check, setting

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MaskedLM:
    """Hide 15 % of the tokens and predict them; shares as in BERT, appendix A.1."""

    kind: Literal["masked"] = "masked"
    chosen_share: float = setting(
        0.15, "Share of a row's ordinary tokens that is predicted.", gt=0.0, lt=1.0
    )
    mask_share: float = setting(
        0.8, "Share of the chosen that the mask token replaces.", ge=0.0, le=1.0
    )
    random_share: float = setting(
        0.1, "Share of the chosen that a random token replaces; the rest stays.", ge=0.0, le=1.0
    )
    attention: ClassVar[AttentionPattern] = "bidirectional"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        if self.mask_share + self.random_share > 1.0:
            raise ValueError(
                f"mask_share={self.mask_share} and random_share={self.random_share} make more "
                "than 1; lower one"
            )

    @property
    def predicted_share(self) -> float:
        """Share of the positions that go through the head."""
        return self.chosen_share

    def build(self, vocabulary: Vocabulary) -> Objective:
        """The objective for these ids; ModelError without a mask token or ordinary ids."""
        if vocabulary.mask is None:
            raise ModelError(
                "the masked-LM objective needs a mask token; set tokenizer.mask to true"
            )
        ordinary = np.setdiff1d(np.arange(vocabulary.size), vocabulary.special_ids)
        if not len(ordinary):
            raise ModelError(f"a vocabulary of {vocabulary.size} special ids has nothing to hide")
        return Masking(self, vocabulary, ordinary)


@dataclass(frozen=True)
class Masking:
    """Chooses, hides and remembers."""

    config: MaskedLM
    vocabulary: Vocabulary
    ordinary: Ints

    def __call__(self, arrays: Arrays, keys: RowKeys) -> Arrays:
        """`inputs` hidden, `targets` the row itself, `loss_mask` and `predicted` the chosen ones.

        A position whose token is special or padding is never chosen; of the others the nearest
        whole number to the share, but at least one.
        """
        tokens, segment_ids = arrays["inputs"], arrays["segment_ids"]
        rows, length = tokens.shape
        most = max(1, round(self.config.chosen_share * length))
        inputs = tokens.copy()
        loss_mask = np.zeros((rows, length), np.float32)
        predicted = np.full((rows, most), -1, np.int64)
        may_be_chosen = (segment_ids > 0) & ~np.isin(tokens, self.vocabulary.special_ids)
        for row in range(rows):
            candidates = np.flatnonzero(may_be_chosen[row])
            if not len(candidates):
                continue
            rng = keys.generator(row, "masked")
            count = max(1, round(self.config.chosen_share * len(candidates)))
            chosen = np.sort(rng.choice(candidates, count, replace=False))
            loss_mask[row, chosen] = 1.0
            predicted[row, :count] = chosen
            fate = rng.random(count)
            mask_up_to = self.config.mask_share
            hidden = fate < mask_up_to
            replaced = ~hidden & (fate < mask_up_to + self.config.random_share)
            inputs[row, chosen[hidden]] = self.vocabulary.mask
            inputs[row, chosen[replaced]] = rng.choice(self.ordinary, int(replaced.sum()))
        return {
            **arrays,
            "inputs": inputs,
            "targets": tokens.copy(),
            "loss_mask": loss_mask,
            "predicted": predicted,
        }
