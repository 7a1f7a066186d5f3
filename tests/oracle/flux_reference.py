"""The oracle for FLUX: diffusers' own transformer, with diffusers' own IP-Adapter for XLabs' files.

For the others diffusers has none: their authors' processors are written out here over diffusers' attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor, FluxTransformer2DModel
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from tests.adapters import AdapterFile
from tests.flux import LATENTS, SMALL, Blocks, FluxCall, make_flux, reference_flux


def tokens_of(blocks: Blocks, call: FluxCall, row: int) -> tuple[Tensor, Tensor]:
    """The picture and what is only looked at as the host cuts them into tokens, and where these are."""
    host = make_flux(blocks).model.diffusion_model
    pieces = [host.process_img(call.x[row : row + 1])]
    pieces += [host.process_img(one[:1], index=1) for one in call.references]
    return torch.cat([piece for piece, _ in pieces], 1), torch.cat([ids for _, ids in pieces], 1)[0]


def predict(model: FluxTransformer2DModel, blocks: Blocks, call: FluxCall, row: int, **joint: Any) -> Tensor:
    """The velocity (1, 16, h, w) of one row of a call."""
    tokens, ids = tokens_of(blocks, call, row)
    height, width = call.x.shape[-2:]
    out = model(
        tokens,
        encoder_hidden_states=call.context[row : row + 1],
        pooled_projections=call.y[row : row + 1],
        timestep=call.timestep[row : row + 1],
        img_ids=ids,
        txt_ids=torch.zeros(call.context.shape[1], 3),
        guidance=call.guidance.expand(len(call.x))[row : row + 1],
        joint_attention_kwargs=joint or None,
    ).sample
    rows = -(-height // 2)
    made = out[:, : rows * -(-width // 2)]
    picture = rearrange(made, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, c=LATENTS, p=2, q=2)
    return picture[..., :height, :width]


class XLabsReference:
    """diffusers' loader and processors."""

    def __init__(self, files: Sequence[AdapterFile], scales: Sequence[float], blocks: Blocks = SMALL) -> None:
        self.blocks, self.model = blocks, reference_flux(blocks)
        with torch.inference_mode(False):
            self.model.set_attn_processor(FluxAttnProcessor())
            self.model._load_ip_adapter_weights([file.nested for file in files], low_cpu_mem_usage=False)
        for processor in self.model.attn_processors.values():
            if hasattr(processor, "scale"):
                processor.scale = list(scales)

    def velocity(self, call: FluxCall, row: int, embeds: Sequence[Tensor]) -> Tensor:
        """With each adapter's images (n, E)."""
        given = [one.unsqueeze(0) for one in embeds]
        return predict(self.model, self.blocks, call, row, ip_adapter_image_embeds=given)


class InstantXProcessor(nn.Module):
    """InstantX's attention processor: K' normalised, V' not; the sum before the projection."""

    def __init__(self, keys: Tensor, values: Tensor, tokens: Tensor, scale: float) -> None:
        super().__init__()
        self.pair, self.tokens, self.scale = (keys, values), tokens, scale

    def image(self, attn: Any, query: Tensor) -> Tensor:
        """Of a query (b, n, h, d), normalised and not rotated."""
        keys, values = (
            linear(self.tokens, matrix).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for matrix in self.pair
        )
        keys = keys * torch.rsqrt(keys.pow(2).mean(-1, keepdim=True) + 1e-5)
        out = scaled_dot_product_attention(query.transpose(1, 2), keys, values)
        return self.scale * out.transpose(1, 2).flatten(2)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
    ) -> Any:
        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1))

        query, key, value = (split(one(hidden_states)) for one in (attn.to_q, attn.to_k, attn.to_v))
        query, key = attn.norm_q(query), attn.norm_k(key)
        plain, text = query, 0
        if encoder_hidden_states is not None:
            asks, keys, values = (
                split(one(encoder_hidden_states)) for one in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            )
            pairs = ((attn.norm_added_q(asks), query), (attn.norm_added_k(keys), key), (values, value))
            query, key, value = (torch.cat(pair, 1) for pair in pairs)
            text = encoder_hidden_states.shape[1]
        query, key = (apply_rotary_emb(one, image_rotary_emb, sequence_dim=1) for one in (query, key))
        out = scaled_dot_product_attention(*(one.transpose(1, 2) for one in (query, key, value)))
        out = out.transpose(1, 2).flatten(2)
        out = self.joined(attn, plain, query, out, text)
        if encoder_hidden_states is None:
            return out
        return attn.to_out[0](out[:, text:]), attn.to_add_out(out[:, :text])

    def joined(self, attn: Any, query: Tensor, rotated: Tensor, out: Tensor, text: int) -> Tensor:
        """The attention's output (b, n, c) with the image's: of the picture's rows, or of all where they are not told
        from the text's."""
        return torch.cat([out[:, :text], out[:, text:] + self.image(attn, query)], 1)


class ToolkitProcessor(InstantXProcessor):
    """ai-toolkit's: asked after the rotation, from every row, and nothing normalised."""

    def image(self, attn: Any, query: Tensor) -> Tensor:
        """Of a query (b, n, h, d), rotated, over text and picture."""
        keys, values = (
            linear(self.tokens, matrix).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for matrix in self.pair
        )
        out = scaled_dot_product_attention(query.transpose(1, 2), keys, values)
        return self.scale * out.transpose(1, 2).flatten(2)

    def joined(self, attn: Any, query: Tensor, rotated: Tensor, out: Tensor, text: int) -> Tensor:
        return out + self.image(attn, rotated)


class InstantXReference:
    """Their projection and processors over diffusers' transformer."""

    processor = InstantXProcessor

    def __init__(self, file: AdapterFile, scale: float, blocks: Blocks = SMALL) -> None:
        self.file, self.scale, self.blocks, self.model = file, scale, blocks, reference_flux(blocks)

    def project(self, embeds: Tensor) -> Tensor:
        """(n, E) to one sequence (1, n · T, C)."""
        proj = self.file.image_proj
        width = proj["norm.weight"].shape[0]
        hidden = gelu(linear(embeds, proj["proj.0.weight"], proj["proj.0.bias"]))
        flat = linear(hidden, proj["proj.2.weight"], proj["proj.2.bias"])
        made = layer_norm(flat.reshape(len(embeds), -1, width), (width,), proj["norm.weight"], proj["norm.bias"])
        return made.reshape(1, -1, width)

    def velocity(self, call: FluxCall, row: int, embeds: Tensor) -> Tensor:
        tokens, layers = self.project(embeds), self.file.ip_adapter
        made = {
            name: self.processor(layers[f"{i}.to_k_ip.weight"], layers[f"{i}.to_v_ip.weight"], tokens, self.scale)
            for i, name in enumerate(self.model.attn_processors)
        }
        self.model.set_attn_processor(made)
        try:
            return predict(self.model, self.blocks, call, row)
        finally:
            self.model.set_attn_processor(FluxAttnProcessor())


class ToolkitReference(InstantXReference):
    """ai-toolkit's: the paper's projection."""

    processor = ToolkitProcessor

    def project(self, embeds: Tensor) -> Tensor:
        proj = self.file.image_proj
        width = proj["norm.weight"].shape[0]
        flat = linear(embeds, proj["proj.weight"], proj["proj.bias"])
        made = layer_norm(flat.reshape(len(embeds), -1, width), (width,), proj["norm.weight"], proj["norm.bias"])
        return made.reshape(1, -1, width)
