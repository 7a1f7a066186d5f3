"""What the shipped workflows tell the person in front of them."""

from __future__ import annotations

from .graph import Note
from .models import FACE_ID as FACE_FILE
from .models import FLUX_CHARACTER as CHARACTER_FILE
from .models import INSTANTID as INSTANTID_FILE
from .models import SD35_INSTANTX as SD35_FILE

IMAGE_PROMPT = Note(
    "An image prompt",
    "The reference image says what to draw, in place of words. The image encoder turns it into features, the "
    "IP-Adapter turns those into a prompt, and the checkpoint follows it. The text here only asks for a good picture.",
    (
        "**Reference image**: choose your own. The encoder sees a square, and **fit** says how a picture becomes one.",
        "**weight**: 1 follows the image alone; lower leaves more to the checkpoint.",
        "**Checkpoint**: any SD1.5 model will do.",
        "**preset**: *PLUS* stays closer to the reference. **Find IP-Adapter** looks into your files, whatever "
        "they are called, and says what it took.",
    ),
    height=500,
)
IMAGE_AND_TEXT_PROMPT = Note(
    "An image and words",
    "Both prompts speak at once: the reference image gives the subject, the text says what shall be different. "
    "The weight is the balance between them.",
    (
        "**Positive prompt**: say what the image does not: a season, a place, clothes, a technique.",
        "**weight**: about 0.5 hears both. Raise it where the picture forgets the reference, lower it where it ignores "
        "the words.",
        "**end_at**: 0.6, say, leaves the last steps to the words alone.",
    ),
)
IMAGE_PROMPT_WITH_CONTROLNET = Note(
    "What from one image, where from another",
    "The reference image says what to draw. The edges of the structure image say where everything goes, through a "
    "ControlNet. Neither has to know of the other.",
    (
        "**Reference image** and **Structure image**: use two different ones.",
        "**Detect Edges**: lower thresholds find more edges; the preview shows them.",
        "**strength** of Apply ControlNet: lower lets the picture leave the edges.",
        "**weight** of Apply IP-Adapter: lower leaves more to the checkpoint and the words.",
        "Any other ControlNet or T2I-Adapter for SD1.5 works in the same place.",
    ),
    height=540,
)
IMAGE_TO_IMAGE = Note(
    "One image made more like another",
    "Sampling starts from the image to change instead of from noise, and the reference image says where to go.",
    (
        "**denoise** of the KSampler is how far to go: 0.4 keeps most of the image to change, 0.8 little more than its "
        "outline.",
        "**weight**: how strongly the reference pulls.",
        "**Image to change**: any size and shape. It is scaled to as many pixels as 512 × 512 has, which SD1.5 was "
        "made for.",
    ),
)
INPAINTING = Note(
    "An image put into another",
    "Only the masked part of the image is drawn anew, and the reference image says with what.",
    (
        "**Mask**: right-click the image to repair, choose *Open in MaskEditor*, and paint over what shall be "
        "replaced. Without a mask nothing is.",
        "**denoise** of the KSampler: lower keeps more of what is under the mask.",
        "**weight**: how closely the new part follows the reference.",
        "**Positive prompt**: name what shall be there where the reference alone is not clear.",
    ),
    height=500,
)
TWO_ADAPTERS = Note(
    "Two adapters at once",
    "Each Apply IP-Adapter adds an image prompt to the model it is given, so they can be chained. Here one adapter "
    "brings the subject and another, more weakly, the mood.",
    (
        "**weight** of each: they add up, so lower both where a picture looks overdone.",
        "**start_at** and **end_at**: let the subject have the first half of the steps and the mood the second.",
        "**mask** of Apply IP-Adapter: give each image prompt its own part of the picture.",
        "One adapter can serve both: link it twice.",
    ),
    height=520,
)
SDXL_PLUS = Note(
    "An image prompt for SDXL",
    "As with SD1.5, at 1024 × 1024 pixels. A Plus adapter reads the image patch by patch, so it keeps more of the "
    "reference than a base one.",
    (
        "**Checkpoint**: any SDXL model will do; SD1.5 models need adapters for SD1.5.",
        "**Image encoder**: adapters with *vit-h* in their name take the same one as SD1.5; ip-adapter_sdxl takes "
        "ViT-bigG.",
        "**weight**: 0.5 to 0.8 leaves room for the words.",
    ),
)
TRAIN_IP_ADAPTER = Note(
    "Train an adapter",
    "Pictures with captions go in, an adapter comes out: the checkpoint stays as it is, and only the image projection "
    "and the image keys and values learn. Here training goes on from a published adapter, which moves it towards your "
    "pictures in a short run. The finished adapter is saved in output/ipadapter and used at once on the right.",
    (
        "**Load Image-Text**: make a folder *training* in ComfyUI's input folder, put pictures there, each with its "
        "caption in a .txt file of the same name, press R and choose it. A picture without a .txt is trained with an "
        "empty caption.",
        "**steps** × **batch_size** ÷ the number of pictures is how often each is seen. Many more than a hundred "
        "times learns a few pictures by heart.",
        "**batch_size**: lower it where memory runs out, and raise **grad_accumulation** by as much.",
        "**ip_adapter**: disconnect it to start anew. That takes the paper's amount of data (millions of pictures, "
        "a million steps) to follow any image; thousands of steps on one subject give a rough adapter for that.",
        "Cancel at any time: what was learned is kept in output/ipadapter.",
    ),
    height=660,
)
EVALUATE_IMAGE_PROMPT = Note(
    "Look and measure",
    "One reference, one text, one seed, three weights. The sheet is for looking, the numbers for comparing: CLIP-I "
    "says how close a picture is to the reference, CLIP-T how close it is to the caption. With a rising weight the "
    "first should rise, while the second mostly falls.",
    (
        "**Positive prompt** and **captions**: keep them the same, so that CLIP-T measures what was asked for.",
        "**Weight 0, 0.5, 1**: any others; write them into **column_labels** too.",
        "**Each picture's numbers**: one row a picture, in the order of the sheet. The mean above it is over all three "
        "weights.",
        "One picture a weight says little: numbers worth telling need many references and seeds, as "
        "`python -m ipadapter.evaluate` makes them.",
        "CLIP metrics favour methods that are conditioned on CLIP: connect a DINOv2 encoder to **dino** as a second "
        "opinion.",
    ),
    height=640,
)

FACE_ID = Note(
    "A person",
    "FaceID adapters follow who somebody is, not how one picture of them looks: a recognition model says who it is, "
    "and FaceID Plus also looks at the face. Its file holds a LoRA, which Apply IP-Adapter puts on the model.",
    (
        f"**IP-Adapter**: [{FACE_FILE.name}]({FACE_FILE.url}), into models/ipadapter.",
        "It needs the Python package insightface and the model pack "
        "[buffalo_l](https://github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_l.zip), unpacked "
        "into models/insightface/models/buffalo_l. The pack may be used for research that is not commercial only.",
        "**Picture of a person**: the largest face counts; **face** of Encode Face Prompt chooses another.",
        "**structure** of FaceID Settings: lower leaves hair, pose and light to the words.",
        "**lora_weight**: lower follows the words more.",
        "**weight**: 0.7 to 1.",
    ),
    height=580,
)
STYLE_TRANSFER = Note(
    "The style of an image",
    "Only those layers of the model that carry style follow the reference image; what is drawn comes from the words. "
    "Made for SDXL, where style has a block of its own.",
    (
        "**Reference image**: something with a style that can be seen: a painting, a print, a film still.",
        "**Positive prompt**: what to draw. Do not name the style, the image does.",
        "**weight**: up to 1.5 or 2 where the style is too faint.",
        "**layers**: *strong style transfer* takes all layers but those of composition; *style transfer precise* also "
        "pushes the reference's composition away.",
        "With SD1.5 it works too, less cleanly: there style is spread over many layers.",
    ),
    height=520,
)
COMPOSITION = Note(
    "The composition of an image",
    "Only those layers of the model that carry composition follow the reference image: what stands where. What it is "
    "and how it looks come from the words.",
    (
        "**Reference image**: one with clear shapes; a sketch or a photo of something else will do.",
        "**Positive prompt**: what to draw in this arrangement.",
        "**weight**: 0.6 takes it as a suggestion, 1 follows it closely.",
        "**end_at**: 0.6 lets the last steps go their own way; composition is settled early.",
        "An edge ControlNet holds outlines more exactly; this holds the arrangement.",
    ),
    height=520,
)
STYLE_AND_COMPOSITION = Note(
    "Style from one image, composition from another",
    "Two image prompts on one adapter. The first reaches the layers of style, the second those of composition: they "
    "are different layers, so the two do not disturb each other.",
    (
        "**Style** and **Composition**: two images; both see the whole of theirs.",
        "**weight** of each: how closely to follow.",
        "**Positive prompt**: say what it is where the two images leave it open.",
        "For one image in both roles, a single Apply IP-Adapter with *style and composition* is enough.",
    ),
    height=480,
)
THREE_REGIONS = Note(
    "Three people, each from an image of their own",
    "Each Image Prompt Region ties an image prompt and a text to a part of the picture; chained, they act in one pass "
    "with one adapter. The text for the whole picture is joined to theirs.",
    (
        "**Person on the left, in the middle, on the right**: three portraits. For likeness take a *plus-face* "
        "adapter and crop to the faces.",
        "**Masks**: thirds with soft edges here. Any masks will do, painted ones too; where they overlap, *share* "
        "keeps the strength of one.",
        "**What this one does**: text for one region only.",
        "**Positive prompt**: the scene as a whole.",
        "**weight** of a region: lower where one person takes over.",
    ),
    height=580,
)
ANIMATION = Note(
    "A batch from one image to another",
    "Every frame of the batch has its own weights: the first reference fades out while the second fades in. With an "
    "AnimateDiff model in place of the checkpoint, or with Context Windows, it is an animation; as it is, a row of "
    "pictures.",
    (
        "**Weights by frame**: type numbers, or choose a timing. Frames past the last keep its weight.",
        "**batch_size** of Empty Latent Image: how many frames; write it into **frames** too.",
        "A reference for each frame: load a batch of images, and set **order** of Encode Image Prompt to *frame by "
        "frame*.",
    ),
    height=480,
)
WEIGHT_CURVE = Note(
    "A weight that changes while sampling",
    "The image prompt leads the first steps, in which the picture is laid out, and hands over to the words for the "
    "rest. The curve is multiplied with the weight of Apply IP-Adapter.",
    (
        "**keyframes**: position: weight; 0 is the first step and 1 the last.",
        "**interpolation**: how it goes from one to the next. The picture on the node shows it.",
        "**curve**: connect a Curve Editor to draw it by hand instead.",
        "Other layers, another curve: apply the prompt once more with other **layers**.",
    ),
    height=460,
)
WIDE_REFERENCE = Note(
    "A reference that is wide, and not quite sharp",
    "The image encoder sees a small square. Tiles read all of a picture that is not square, each part at full size; "
    "sharpening brings out what was lost when it was made small.",
    (
        "**Reference image**: a panorama, a tall poster, a screenshot.",
        "**sharpening**: 0 leaves it alone; above 0.6 it looks harsh.",
        "**fit**: *tiles in place* lets each part act where it lies in the picture; *pad* reads all of it at once, "
        "smaller.",
        "**crop** of Prepare Reference Image: *to mask* cuts out what is painted on the image.",
    ),
    height=480,
)
ATTENTION_MAP = Note(
    "See where the image prompt acted",
    "The model records, while it samples, how much of its attention's output comes from the image prompt, and the "
    "heat map shows it over the picture. Bright places follow the reference, dark ones the words.",
    (
        "**layers** and **start_step**, **end_step**: look at some only; nothing is sampled anew for it.",
        "**prompt**: one of several image prompts.",
        "**mask**: the map itself, for other nodes.",
        "Without these two nodes nothing is recorded and sampling is as fast as ever.",
    ),
    height=460,
)
FLUX = Note(
    "An image prompt for FLUX",
    "FLUX.1 dev draws what the text says, and the image prompt joins in behind each of its double blocks. The model "
    "follows the text closely by itself, with **guidance** in place of a CFG scale, so there is no negative prompt.",
    (
        "**weight**: begin with 0.8; 0.6 leaves more to the words. Above 1 pictures soon break.",
        "**Positive prompt**: whole sentences. Where it speaks against the image, shorten it before you raise the "
        "weight.",
        "**cfg** of the KSampler stays at 1. Higher takes twice the time, and only then a negative prompt or a "
        "negative image counts.",
        "**end_at**: 0.6, say, leaves the last steps to the words.",
        "**Load Diffusion Model**: FLUX.1 Krea dev and Kontext are built alike; schnell follows the image less. The "
        "licence of dev and of this adapter is not commercial.",
        "InstantX's adapter, flux-ip-adapter-instantx.bin, reads SigLIP: take **Load SigLIP Vision** in place of Load "
        "CLIP Vision. **Find IP-Adapter** finds either with its encoder.",
        "t5xxl_fp8_e4m3fn.safetensors from the same page does with half the memory.",
    ),
    height=700,
)
FLUX_CONTROLNET = Note(
    "FLUX: what from one image, where from another",
    "The reference image says what to draw. The edges of the structure image say where everything goes, through a "
    "ControlNet for FLUX. Neither has to know of the other.",
    (
        "**Reference image** and **Structure image**: use two different ones.",
        "**strength** of Apply ControlNet: 0.6 to 0.8 for this one; **end_percent** 0.5 lets the details go their own "
        "way.",
        "**Detect Edges**: lower thresholds find more edges; the preview shows them.",
        "**weight** of Apply IP-Adapter: 0.6 to 1.",
        "Other ControlNets for FLUX.1 dev work in the same place. Those of InstantX and Shakker read latents: connect "
        "the VAE to Apply ControlNet, too.",
    ),
    height=620,
)
FLUX_CHARACTER = Note(
    "FLUX: one subject, somewhere else",
    "InstantCharacter reads patches of the reference and of its quarters through two image encoders, and keeps one "
    "subject: a person, a toy, a drawn figure. The text says where it is and what it does.",
    (
        f"**IP-Adapter**: [{CHARACTER_FILE.name}]({CHARACTER_FILE.url}), into models/ipadapter.",
        "**Reference image**: the whole subject on a plain ground, as a square; it is stretched to one.",
        "**weight**: 0.8 to 0.9. Lower leaves more to the words.",
        "**Positive prompt**: the scene and what happens in it; name the subject where the picture forgets it.",
        "**cfg** of the KSampler stays at 1. At a higher one the image acts on both sides.",
        "The two encoders are put together by **Join Image Encoders**; **Find IP-Adapter** does it by itself, with the "
        "preset *FLUX InstantCharacter*.",
        "The adapter, 5.6 GB, has to be on the card while sampling, and its prompt is made anew in each step.",
    ),
    height=760,
)
SD35 = Note(
    "An image prompt for SD3.5 Large",
    "In every block of SD3.5 Large the picture attends to the image prompt beside itself. What the model reads of the "
    "reference follows the noise: its layout first, its details in the end.",
    (
        f"**IP-Adapter**: [{SD35_FILE.name}]({SD35_FILE.url}), into models/ipadapter.",
        "**weight**: 0.5 to 0.7. Higher follows the reference closely and soon loses the words.",
        "**Positive prompt**: whole sentences, and of the same subject as the reference, or short.",
        "**cfg**: 3.5 to 5. The negative prompt counts as ever; a **negative** image of Encode Image Prompt, too.",
        "**end_at**: 0.7, say, leaves the last steps to the words.",
        "A step takes longer, for each block attends once more, and the adapter, 1.6 GB, has to be on the card while "
        "sampling.",
        "The checkpoint has its three text encoders in it. Those of Load Diffusion Model and TripleCLIPLoader do as "
        "well; SD3.5 Medium does not, nor does SD3.",
    ),
    height=820,
)
INSTANTID = Note(
    "InstantID: a person, where you want them",
    "Two things of InstantID for SDXL say who it is: its adapter, as with other faces, and its ControlNet, which also "
    "reads where the face is to be and how it is turned. Both read one face prompt.",
    (
        f"**IP-Adapter**: [{INSTANTID_FILE.name}]({INSTANTID_FILE.url}), into models/ipadapter.",
        "It needs the Python package insightface and the model pack "
        "[antelopev2](https://github.com/deepinsight/insightface/releases/download/model-zoo/antelopev2.zip), unpacked "
        "into models/insightface/models/antelopev2. The pack may be used for research that is not commercial only.",
        "**Picture of a person**: the largest face counts; **face** of Encode Face Prompt chooses another.",
        "**Picture of the pose**: any picture in which a face has the place, the size and the turn that are wanted: "
        "the same one, or somebody else's.",
        "**weight** of Apply IP-Adapter and **strength** of Apply InstantID ControlNet: 0.8 each. Lower the strength "
        "for a pose that is freer, the weight for words that count more.",
        "**cfg**: 4 to 5. More, and pictures burn.",
        "Another image prompt, such as a style, goes between the model and this Apply IP-Adapter.",
    ),
    height=900,
)
