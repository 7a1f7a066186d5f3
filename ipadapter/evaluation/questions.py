"""VQAScore (arXiv 2404.01291): how sure a model that sees and speaks is that a picture shows its caption.

The probability that its first word is "Yes" when it is asked whether the figure shows the caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import IPAdapterError
from ..numbers import shorten
from .judges import LibraryModule, Measuring, device_of
from .weights import WeightSource

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
ANSWER = "Yes"


@dataclass(frozen=True)
class QuestionJudge:
    """A model of transformers that takes a picture and a question, with its processor."""

    label: str
    module: nn.Module
    processor: Any

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        def measure(picture: Tensor) -> dict[str, float]:
            chances = [self.chance_of_yes(picture, caption) for caption in captions]
            return {"vqa_score": sum(chances) / len(chances)} if chances else {}

        return measure

    def chance_of_yes(self, picture: Tensor, caption: str) -> float:
        """Of the word after the question."""
        content = [{"type": "image"}, {"type": "text", "text": QUESTION.format(caption)}]
        asked = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        given = self.processor(text=[asked], images=[as_image(picture)], return_tensors="pt")
        said = self.module(**given.to(device_of(self.module))).logits[0, -1]  # (vocabulary,)
        yes = self.processor.tokenizer.encode(ANSWER, add_special_tokens=False)[0]
        return float(said.float().softmax(-1)[yes])


def as_image(picture: Tensor) -> Image.Image:
    """(1, H, W, 1 | 3 | 4) in 0 … 1 as Pillow's, RGB."""
    levels = (picture[0, ..., :3].float().clamp(0, 1) * 255).round().byte().cpu().numpy()  # (H, W, C)
    return Image.fromarray(np.broadcast_to(levels, (*levels.shape[:2], 3)).copy())


def open_vqa_score(source: WeightSource) -> QuestionJudge:
    """A folder with a model of transformers that speaks, such as Qwen2.5-VL. Raises IPAdapterError for another."""
    try:
        import transformers

        opened: Any = transformers.AutoProcessor
        processor = opened.from_pretrained(source.folder, local_files_only=True)
        with torch.inference_mode(False):  # in which transformers could not set what it loads to be left alone
            made = transformers.AutoModelForImageTextToText.from_pretrained(
                source.folder, local_files_only=True, dtype="auto"
            )
    except (ImportError, AttributeError) as error:
        raise IPAdapterError(
            f"VQAScore needs transformers, or a newer one ({error}): run `pip install -U transformers`."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        why = shorten(str(error))
        raise IPAdapterError(
            f"'{source.name}' is no model of transformers that answers questions about pictures ({why})."
        ) from error
    module: nn.Module = made.requires_grad_(False)
    return QuestionJudge(f"VQAScore ({source.name})", LibraryModule(module.eval()), processor)
