"""What the shipped workflows tell the person in front of them."""

from __future__ import annotations

from .graph import Note

IMAGE_PROMPT = Note(
    "An image prompt",
    "The reference image says what to draw, in place of words. The image encoder turns it into features, the "
    "IP-Adapter turns those into a prompt, and the checkpoint follows it. The text here only asks for a good picture.",
    (
        "**Reference image**: choose your own. The encoder sees a square, and **fit** says how a picture becomes one.",
        "**weight**: 1 follows the image alone; lower leaves more to the checkpoint.",
        "**Checkpoint**: any SD1.5 model will do.",
        "**IP-Adapter**: ip-adapter-plus_sd15 stays closer to the reference.",
    ),
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
    height=680,
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
    height=640,
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
    height=660,
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
    height=860,
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
    height=820,
)
