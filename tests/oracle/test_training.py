"""Training equals the reference: the same gradients and the same weights after several steps, on the same numbers."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_sampling
import pytest
import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from pack.ipadapter.adapters.families import BASE, FACE_ID, FACE_ID_PLUS, PLUS
from pack.ipadapter.adapters.writing import file_tensors
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.training.data import encode_pictures, graph_pictures, learned_places
from pack.ipadapter.host.training.frozen import frozen_unet
from pack.ipadapter.prompts.prompt import FACE_WIDTH, Feature
from pack.ipadapter.training.average import WeightAverage
from pack.ipadapter.training.batches import Batches
from pack.ipadapter.training.draws import draw_example
from pack.ipadapter.training.fresh import new_adapter, new_spec
from pack.ipadapter.training.loop import train, train_step
from pack.ipadapter.training.module import AdapterTraining
from pack.ipadapter.training.recipe import Drops, Recipe

from tests.adapters import EMBED, HIDDEN, PATCHES, AdapterFile
from tests.oracle.reference import Reference
from tests.oracle.test_faces import add_loras
from tests.oracle.training import Examples, min_snr_weights, reference_training
from tests.small import MICRO, SD15, SHALLOW_SDXL, host_model, make_pair, make_reference_unet, reference_weights
from tests.world import conditioning

PICTURES = 5
MANY_DROPS = Drops(0.25, 0.25, 0.25)
FEATURE_DIM = {BASE: EMBED, PLUS: HIDDEN, FACE_ID: FACE_WIDTH, FACE_ID_PLUS: HIDDEN}


def graph(layout, seed=3):
    """Pictures, captions and latents as dataset nodes give them."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.rand(1, 16, 16, 3, generator=generator) for _ in range(PICTURES)]
    latents = [{"samples": torch.randn(1, 4, 16, 16, generator=generator) * 4} for _ in range(PICTURES)]
    positive = [conditioning(layout, 20 + i) for i in range(PICTURES)]
    return graph_pictures(images, latents, positive, conditioning(layout, 50))


def features(kind, seed=4):
    """Of the pictures, and of no picture: of each what the projection reads."""
    generator = torch.Generator().manual_seed(seed)
    made = [READ[feature](generator) for feature in kind.reads]
    return tuple(zip(*made, strict=True))


def or_zero(width):
    return lambda generator: (torch.randn(PICTURES, width, generator=generator), torch.zeros(1, width))


READ = {
    Feature.IMAGE_EMBEDS: or_zero(EMBED),
    Feature.FACE: or_zero(FACE_WIDTH),
    Feature.PENULTIMATE: lambda g: [torch.randn(n, PATCHES, HIDDEN, generator=g) for n in (PICTURES, 1)],
}


def start(frozen, kind, layout, min_snr=0.0):
    """A trainer's two halves on a small random model."""
    tokens = kind.start.tokens
    spec = new_spec("new", kind, tokens, FEATURE_DIM[kind], frozen.layers)
    training = AdapterTraining(new_adapter(spec, frozen.layer_weights(), seed=1), frozen, min_snr)
    return training, encode_pictures(frozen.patcher.model, graph(layout), *features(kind))


def as_file(adapter) -> AdapterFile:
    """The adapter as diffusers loads it."""
    tensors = {key: tensor.clone() for key, tensor in file_tensors(adapter).items()}
    groups = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in tensors.items():
        group, _, rest = key.partition(".")
        groups[group][rest] = tensor
    return AdapterFile(**groups)


def examples_of(data, recipe: Recipe, step: int) -> Examples:
    """The batch of a step, put together here from the raw pictures and draws by the reference's rules."""
    rows = range(step * recipe.batch_size, (step + 1) * recipe.batch_size)
    draws = [draw_example(recipe.seed, row, PICTURES) for row in rows]
    d = recipe.drops
    no_image = [x.drop < d.image or d.image + d.text <= x.drop < d.image + d.text + d.both for x in draws]
    no_text = [d.image <= x.drop < d.image + d.text + d.both for x in draws]

    def reading(seen, nothing):
        return torch.cat([nothing if gone else seen[[x.index]] for x, gone in zip(draws, no_image, strict=True)])

    reads = [reading(*read) for read in zip(data.encoded, data.nothing, strict=True)]
    conds = [(data.empty if gone else data.conds)[x.index] for x, gone in zip(draws, no_text, strict=True)]
    return Examples(
        latents=torch.cat([data.clean[x.index] for x in draws]),
        noise=torch.stack([x.noise(tuple(data.clean[0].shape[1:])) for x in draws]),
        time=torch.tensor([x.time for x in draws], dtype=torch.float64),
        text=torch.cat([c["c_crossattn"].cond for c in conds]),
        pooled=torch.cat([c["y"].cond for c in conds]) if "y" in conds[0] else None,
        features=reads[0],
        hidden=reads[1] if len(reads) > 1 else None,
    )


def gradients(training):
    """Under the public files' names, but for those of a LoRA."""
    saved = {name: p.data for name, p in training.adapter.named_parameters()}
    for parameter in training.adapter.parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0
        parameter.data = parameter.grad
    named = {key: tensor.clone() for key, tensor in file_tensors(training.adapter).items() if "_lora." not in key}
    for name, parameter in training.adapter.named_parameters():
        parameter.data = saved[name]
    return named


def relative(ours, theirs) -> float:
    """The largest difference of two sets of tensors, each beside its own largest number."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[k] - theirs[k]).norm() / theirs[k].norm()) for k in ours)


def one_backward(frozen, kind, layout, recipe, prediction="epsilon", unet=None):
    """Gradients of one step on both sides."""
    training, data = start(frozen, kind, layout, recipe.min_snr)
    reference = reference_training(layout, as_file(training.adapter), prediction, unet)
    if recipe.min_snr:
        reference.weights = min_snr_weights(prediction, recipe.min_snr)
    keep = torch.optim.SGD(training.parameters(), lr=0.0)
    keep.zero_grad = lambda set_to_none=True: None  # keep the gradients to look at
    loss = train_step(training, Batches(data, frozen, recipe), keep, step=0)
    theirs = reference.loss(examples_of(data, recipe, 0))
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-5)
    return gradients(training), reference.public(lambda p: p.grad)


@pytest.mark.parametrize("kind", [BASE, PLUS], ids=lambda kind: kind.title)
@pytest.mark.parametrize("layout", [SD15, SHALLOW_SDXL], ids=lambda layout: layout.name)
def test_gradients_of_every_trained_tensor_equal_the_references(layout, kind):
    """Both UNets compute in float64: how a processor rounds many layers of float32 is itself some 1e-5."""
    recipe = Recipe(kind, batch_size=4, drops=MANY_DROPS, seed=5)
    with torch.inference_mode(False):
        unet = make_reference_unet(layout).double()
    model = host_model(layout, reference_weights(layout), torch.float64)
    with frozen_unet(model, None, gradient_checkpointing=False) as frozen:
        ours, theirs = one_backward(frozen, kind, layout, recipe, unet=unet)
    assert relative(ours, theirs) < 1e-5


def test_gradient_checkpointing_changes_nothing():
    recipe = Recipe(BASE, batch_size=2, seed=5)
    with frozen_unet(make_pair(SD15).host, None, gradient_checkpointing=True) as frozen:
        ours, theirs = one_backward(frozen, BASE, SD15, recipe)
    assert relative(ours, theirs) < 1e-5


def sampling(kind):
    """The host's sampling object of a model that predicts something else."""
    schedule = {
        "v_prediction": (comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION),
        "flow": (comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST),
    }[kind]
    return type("ModelSampling", schedule, {})()


@pytest.mark.parametrize("prediction", ["v_prediction", "flow"])
def test_models_that_predict_velocity_or_flow_have_their_own_loss(prediction):
    model = make_pair(MICRO).host.clone()
    with torch.inference_mode(False):
        model.add_object_patch("model_sampling", sampling(prediction))
    recipe = Recipe(BASE, batch_size=4, drops=MANY_DROPS, seed=5)
    with frozen_unet(model, None, gradient_checkpointing=False) as frozen:
        ours, theirs = one_backward(frozen, BASE, MICRO, recipe, prediction)
    assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_examples_weigh_by_their_noise_as_min_snr_has_it(prediction):
    model = make_pair(MICRO).host.clone()
    if prediction != "epsilon":
        with torch.inference_mode(False):
            model.add_object_patch("model_sampling", sampling(prediction))
    recipe = Recipe(BASE, batch_size=4, drops=MANY_DROPS, seed=5, min_snr=0.5)
    with frozen_unet(model, None, gradient_checkpointing=False) as frozen:
        ours, theirs = one_backward(frozen, BASE, MICRO, recipe, prediction)
        plain, _ = one_backward(frozen, BASE, MICRO, replace(recipe, min_snr=0.0), prediction)
    assert relative(ours, theirs) < 1e-5
    assert relative(plain, theirs) > 0.01, "it makes a difference"


def test_only_what_a_latents_mask_shows_is_learned_from():
    recipe = Recipe(BASE, batch_size=4, drops=MANY_DROPS, seed=5)
    mask = torch.zeros(1, 1, 32, 32)  # twice the latents' size, as a picture's mask is larger
    mask[..., :16] = 1.0
    with frozen_unet(make_pair(MICRO).host, None, gradient_checkpointing=False) as frozen:
        training, plain = start(frozen, BASE, MICRO)
        masked = replace(plain, places=learned_places(replace(graph(MICRO), areas=[mask] * PICTURES)))
        reference = reference_training(MICRO, as_file(training.adapter))
        reference.area = torch.nn.functional.pad(torch.ones(4, 1, 16, 8), (0, 8))
        training(Batches(masked, frozen, recipe).take(0)).backward()
        reference.loss(examples_of(plain, recipe, 0)).backward()
        ours, theirs = gradients(training), reference.public(lambda p: p.grad)
    assert relative(ours, theirs) < 1e-5


def test_min_snr_is_refused_where_it_means_nothing():
    model = make_pair(MICRO).host.clone()
    with torch.inference_mode(False):
        model.add_object_patch("model_sampling", sampling("flow"))
    with (
        frozen_unet(model, None, gradient_checkpointing=False) as frozen,
        pytest.raises(IPAdapterError, match=r"min_snr is 5, but this model predicts the flow of .*: set min_snr to 0"),
    ):
        start(frozen, BASE, MICRO, min_snr=5.0)


@pytest.mark.parametrize("warmup_steps", [0, 4])
@pytest.mark.parametrize(
    ("schedule", "theirs"), [("constant", "constant_with_warmup"), ("linear", "linear"), ("cosine", "cosine")]
)
def test_the_learning_rate_is_that_of_the_librarys_schedule(schedule, theirs, warmup_steps):
    recipe = Recipe(steps=20, schedule=schedule, warmup_steps=warmup_steps, learning_rate=0.3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=warmup_steps, num_training_steps=20)
    expected = []
    for _ in range(20):
        expected += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    assert [recipe.rate(step) for step in range(20)] == pytest.approx(expected, rel=1e-6)


def test_a_run_is_made_at_the_schedules_rates(monkeypatch):
    recipe, seen = Recipe(BASE, steps=4, schedule="linear", warmup_steps=1), []
    with frozen_unet(make_pair(MICRO).host, None, gradient_checkpointing=False) as frozen:
        training, data = start(frozen, BASE, MICRO)
        step = torch.optim.AdamW.step
        monkeypatch.setattr(
            torch.optim.AdamW, "step", lambda self: (seen.append(self.param_groups[0]["lr"]), step(self))[1]
        )
        train(training, data, recipe, lambda number, loss: None)
    assert seen == [recipe.rate(number) for number in range(4)] == pytest.approx([0.0, 1e-4, 2e-4 / 3, 1e-4 / 3])


def test_the_average_of_the_weights_is_the_librarys():
    with frozen_unet(make_pair(MICRO).host, None, gradient_checkpointing=False) as frozen:
        training, data = start(frozen, BASE, MICRO)
        adapter = training.adapter
        theirs, ours = EMAModel(adapter.parameters(), decay=0.7), WeightAverage(adapter, 0.7)

        def follow(step, loss):
            theirs.step(adapter.parameters())
            ours.follow(adapter)

        train(training, data, Recipe(BASE, steps=12, learning_rate=0.01), follow)
        pairs = list(zip(ours.adapter.parameters(), theirs.shadow_params, adapter.parameters(), strict=True))
    assert ours.updates == 12
    assert max(float((a - b).abs().max() / b.abs().max()) for a, b, _ in pairs) < 1e-6
    assert max(float((a - c).abs().max()) for a, _, c in pairs) > 1e-3, "it is not the last step's"


def trained_lora(unet) -> dict[str, torch.nn.Parameter]:
    """peft's matrices in diffusers' UNet under the public files' names: its processors' order numbers them."""
    numbers = {name.removesuffix(".processor"): number for number, name in enumerate(unet.attn_processors)}
    found = {}
    for name, parameter in unet.named_parameters():
        attention, _, rest = name.partition(".to_")
        if ".lora_" in name:
            matrix, end = rest.split(".")[0], {"lora_A": "down", "lora_B": "up"}[name.split(".")[-3]]
            found[f"{numbers[attention]}.to_{matrix}_lora.{end}.weight"] = parameter.requires_grad_(True)
    return found


@pytest.mark.parametrize("kind", [FACE_ID, FACE_ID_PLUS], ids=lambda kind: kind.title)
def test_gradients_of_a_face_adapter_and_of_its_lora_equal_those_of_the_library(kind):
    """The LoRA by peft, in every attention, trained together with the adapter, as its authors do."""
    recipe = Recipe(kind, batch_size=4, drops=MANY_DROPS, seed=5)
    with torch.inference_mode(False):
        unet = make_reference_unet(MICRO).double()
    with frozen_unet(host_model(MICRO, reference_weights(MICRO), torch.float64), None, False) as frozen:
        training, data = start(frozen, kind, MICRO)
        batch = Batches(data, frozen, recipe).take(0)
        with frozen.changes.resting():
            plain = training(batch)
        assert torch.equal(training(batch), plain), "a LoRA that has learned nothing changes nothing, to the bit"
        with torch.no_grad():
            for number, tensor in enumerate(training.adapter.lora.values()):
                tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)) / 30)
        loss = training(batch)
        loss.backward()
        ours = {key: tensor.grad for key, tensor in training.adapter.lora.items()} | gradients(training)
        reference = reference_training(MICRO, file := as_file(training.adapter), unet=unet)
        with torch.inference_mode(False):
            add_loras(Reference(MICRO, unet), file)
        unet.double()
        lora = trained_lora(unet)
        for parameter in reference.trained:  # peft has frozen them
            parameter.requires_grad_(True)
        theirs = reference.loss(examples_of(data, recipe, 0))
        theirs.backward()
    assert lora.keys() == training.adapter.lora.keys()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5) and abs(loss.item() / plain.item() - 1) > 1e-4
    adapter = reference.public(lambda p: p.grad)  # which takes a perceptron for full-face's, whose norm is proj.3
    named = {key.replace("image_proj.proj.3.", "image_proj.norm."): tensor for key, tensor in adapter.items()}
    assert relative(ours, {key: p.grad for key, p in lora.items()} | named) < 1e-5


@pytest.mark.parametrize("kind", [BASE, PLUS], ids=lambda kind: kind.title)
def test_twelve_optimizer_steps_agree(kind):
    recipe = Recipe(kind, steps=12, batch_size=2, drops=MANY_DROPS, seed=6)
    with frozen_unet(make_pair(MICRO).host, None, gradient_checkpointing=False) as frozen:
        training, data = start(frozen, kind, MICRO)
        before = {key: tensor.clone() for key, tensor in file_tensors(training.adapter).items()}
        reference = reference_training(MICRO, as_file(training.adapter))
        losses = train(training, data, recipe, lambda step, loss: None)
        optimizer = torch.optim.AdamW(reference.trained, lr=1e-4, weight_decay=1e-2)
        for step in range(12):
            loss = reference.loss(examples_of(data, recipe, step))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            assert losses[step] == pytest.approx(loss.item(), rel=1e-4)
        ours, theirs = file_tensors(training.adapter), reference.public(lambda p: p.detach())
    assert relative(ours, theirs) < 1e-4
    moved = {key: float((ours[key] - before[key]).abs().max()) for key in ours}
    assert min(moved.values()) > 1e-4, "every trained tensor learned"
