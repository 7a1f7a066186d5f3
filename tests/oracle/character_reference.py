"""The oracle for InstantCharacter: its authors' projector and processor, written out over diffusers' own modules."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import TimestepEmbedding, Timesteps, apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention, silu

from tests.adapters import AdapterFile
from tests.flux import SMALL, Blocks, FluxCall, reference_flux
from tests.oracle.flux_reference import predict

HEAD_OF_BLOCKS = 64


def group(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, by the rest of their names."""
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def diffusers_block(tensors: dict[str, Tensor]) -> BasicTransformerBlock:
    """A transformer block as the authors make them."""
    width = tensors["norm1.weight"].shape[0]
    with torch.inference_mode(False):
        block = BasicTransformerBlock(
            width,
            width // HEAD_OF_BLOCKS,
            HEAD_OF_BLOCKS,
            cross_attention_dim=width,
            activation_fn="geglu",
            norm_type="layer_norm",
            norm_eps=1e-6,
        )
        block.load_state_dict(tensors)
    return block.eval().requires_grad_(False)


def perceptron(x: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """timm's, with the tanh form of the GELU."""
    hidden = gelu(linear(x, tensors["fc1.weight"], tensors["fc1.bias"]), approximate="tanh")
    return linear(hidden, tensors["fc2.weight"], tensors["fc2.bias"])


def resampled(x: Tensor, time: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Features (n, S, D) at times (n,) in 0 … 1000 to tokens (n, T, C)."""

    def mapped(states: Tensor, name: str) -> Tensor:
        return linear(states, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))

    def normed(states: Tensor, name: str) -> Tensor:
        weight = tensors[f"{name}.weight"]
        return layer_norm(states, weight.shape, weight, tensors[f"{name}.bias"])

    first = tensors["time_embedding.linear_1.weight"]
    with torch.inference_mode(False):
        embed = TimestepEmbedding(first.shape[1], first.shape[0])
        embed.load_state_dict(group(tensors, "time_embedding."))
        sines = Timesteps(first.shape[1], True, 0)
    embedded = embed(sines(time)).detach()
    latents = tensors["latents"].repeat(len(x), 1, 1)
    x = mapped(x, "proj_in") + embedded[:, None]
    depth = len({key.split(".")[1] for key in tensors if key.startswith("layers.")})
    for i in range(depth):
        shift, scale, feed_shift, feed_scale = mapped(silu(embedded), f"layers.{i}.2.1").chunk(4, dim=1)
        asking = normed(latents, f"layers.{i}.0.norm2") * (1 + scale[:, None]) + shift[:, None]
        asked = torch.cat([normed(x, f"layers.{i}.0.norm1"), asking], dim=1)
        key, value = mapped(asked, f"layers.{i}.0.to_kv").chunk(2, dim=-1)
        query, key, value = (
            one.unflatten(-1, (-1, 64)).transpose(1, 2) for one in (mapped(asking, f"layers.{i}.0.to_q"), key, value)
        )
        weights = torch.softmax((query * 64**-0.25) @ (key * 64**-0.25).transpose(-2, -1), dim=-1)
        latents = mapped((weights @ value).transpose(1, 2).flatten(2), f"layers.{i}.0.to_out") + latents
        fed = normed(latents, f"layers.{i}.1.0") * (1 + feed_scale[:, None]) + feed_shift[:, None]
        latents = mapped(gelu(mapped(fed, f"layers.{i}.1.1")), f"layers.{i}.1.3") + latents
    return normed(mapped(latents, "proj_out"), "norm_out")


class Projector:
    """`CrossLayerCrossScaleProjector`."""

    def __init__(self, file: AdapterFile) -> None:
        self.tensors = file.image_proj
        self.blocks = {
            name: [diffusers_block(group(self.tensors, f"{name}.{i}.")) for i in range(2)]
            for name in ("cross_layer_blocks", "cross_scale_blocks")
        }

    def __call__(self, shallow: Tensor, deep: Tensor, high: Tensor, time: Tensor) -> Tensor:
        """Of n pictures to tokens (n, T, C)."""
        layers = scales = deep
        for block in self.blocks["cross_layer_blocks"]:
            layers = block(layers, encoder_hidden_states=shallow)
        for block in self.blocks["cross_scale_blocks"]:
            scales = block(scales, encoder_hidden_states=high)
        parts = {name: group(self.tensors, f"{name}.") for name in ("proj", "proj_cross_layer", "proj_cross_scale")}
        made = perceptron(deep, parts["proj"]) + perceptron(scales, parts["proj_cross_scale"])
        states = torch.cat([made, perceptron(layers, parts["proj_cross_layer"])], dim=1)
        return resampled(states, time, group(self.tensors, "resampler."))


class CharacterProcessor(nn.Module):
    """Its authors' attention processor: of (tokens, scale) each, what is added to the picture's rows."""

    def __init__(self, prompts: list[tuple[dict[str, Tensor], Tensor, float]], text: int) -> None:
        super().__init__()
        self.prompts, self.text = prompts, text

    def image(self, attn: Any, query: Tensor) -> Tensor:
        """Of the picture's raw query (b, n, c)."""

        def normed(x: Tensor, scale: Tensor) -> Tensor:
            return scale * (x / (x.norm(2, dim=-1, keepdim=True) * x.shape[-1] ** -0.5 + 1e-6))

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        total = torch.zeros_like(query)
        for layer, tokens, scale in self.prompts:
            keys, values = (linear(tokens, layer[f"to_{m}_ip.weight"], layer[f"to_{m}_ip.bias"]) for m in "kv")
            asked = normed(split(keys), layer["norm_ip_k.scale"])
            out = scaled_dot_product_attention(normed(split(query), layer["norm_ip_q.scale"]), asked, split(values))
            total = total + scale * out.transpose(1, 2).flatten(2)
        return total

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

        raw = attn.to_q(hidden_states)
        joined = encoder_hidden_states is None
        image = self.image(attn, raw[:, self.text :] if joined else raw)
        query, key, value = (
            attn.norm_q(split(raw)),
            attn.norm_k(split(attn.to_k(hidden_states))),
            attn.to_v(hidden_states),
        )
        value = split(value)
        if encoder_hidden_states is not None:
            asks, keys, values = (
                split(one(encoder_hidden_states)) for one in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            )
            pairs = ((attn.norm_added_q(asks), query), (attn.norm_added_k(keys), key), (values, value))
            query, key, value = (torch.cat(pair, 1) for pair in pairs)
        query, key = (apply_rotary_emb(one, image_rotary_emb, sequence_dim=1) for one in (query, key))
        out = scaled_dot_product_attention(*(one.transpose(1, 2) for one in (query, key, value)))
        out = out.transpose(1, 2).flatten(2)
        text, picture = out[:, : self.text], out[:, self.text :] + image
        if joined:
            return torch.cat([text, picture], 1)
        return attn.to_out[0](picture), attn.to_add_out(text)


class CharacterReference:
    """Their projector and processors over diffusers' transformer."""

    def __init__(self, files: list[AdapterFile], scales: list[float], blocks: Blocks = SMALL) -> None:
        self.files, self.scales, self.blocks = files, scales, blocks
        self.projectors, self.model = [Projector(file) for file in files], reference_flux(blocks)

    def tokens(self, states: Tensor, time: Tensor, projector: Projector) -> Tensor:
        """Of n pictures' states, late and early ones and those of quarters, to one sequence (1, n · T, C)."""
        deep, shallow, high = states.split([states.shape[1] // 8 * n for n in (1, 3, 4)], dim=1)
        return projector(shallow, deep, high, 1000 * time.expand(len(states))).flatten(0, 1)[None]

    def velocity(self, call: FluxCall, row: int, states: list[Tensor]) -> Tensor:
        """Of one row of a call, with each adapter's pictures (n, 8 S, D)."""
        time = call.timestep[row : row + 1]
        given = zip(states, self.projectors, strict=True)
        tokens = [self.tokens(one, time, projector) for one, projector in given]
        made = {}
        for i, name in enumerate(self.model.attn_processors):
            layers = [group(file.ip_adapter, f"{i}.") for file in self.files]
            prompts = list(zip(layers, tokens, self.scales, strict=True))
            made[name] = CharacterProcessor(prompts, call.context.shape[1])
        self.model.set_attn_processor(made)
        try:
            return predict(self.model, self.blocks, call, row)
        finally:
            self.model.set_attn_processor(FluxAttnProcessor())
