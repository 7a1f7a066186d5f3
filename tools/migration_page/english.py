"""The page in English."""

from __future__ import annotations

from .counted import COUNTED
from .page import MigrationPage

HEAD = """\
# Graphs of ComfyUI_IPAdapter_plus

What becomes of each node of ComfyUI_IPAdapter_plus (as of its commit 9d076a3). ComfyUI's node replacement and \
the command use the same rules.

- **By themselves**: where no other pack has them, this pack answers to all the old ids, so that old graphs, programs \
and packs go on working without any change ([below](#programs-and-packs)).
- **In the browser**: with the old ids switched off, ComfyUI shows the old nodes as missing and offers to replace \
them. Nodes of [version 1](#version-1) are replaced as a graph opens. A node of another pack that has an old id opens \
as a missing one that says whose it is, such as *IPAdapter (laksjdjf/IPAdapter-ComfyUI)*, and is saved as it was.
- **Over the API**: with the old ids switched off, a prompt with old nodes is put right when it arrives.
- **Files**: `python -m ipadapter.migrate FILE …` in the pack's folder changes workflows and API prompts, from \
PNGs too. In place with a backup (`FILE.bak`), or to a new file with `--output` or `--suffix`, \
or from standard input to standard output with `-`; exports of both graphs in one file and node templates are opened; \
encoding, line ends, indentation, mode and links stay as they were; `--dry-run` \
only reports, `--report` writes the report as JSON. Nodes of other packs, and files with nothing to change, \
stay as they are.

Nodes that begin with *Legacy* have the old inputs and options and call the same engine as all others. They \
are for old graphs; new ones read better with the new nodes, which the last column names. The group nodes of old \
front ends are named in the report and left alone. Nodes that hand an adapter, embeds or the like to one another \
move together. A value that does not fit its widget is reported; in a workflow the usual value stands in its place. \
No node is larger than the one it replaces: where there is no room for what the old one had not, that is hidden until \
you choose *Show All Inputs* in the node's menu. Nodes 2.0 draws every node taller than the canvas does, so that nodes \
which stand close together overlap there, replaced or not. Words of other programs are in \
[coming-from.md](coming-from.md).

## Version 2

| Old node | Becomes | Set | Dropped | What differs | In a new graph |
|---|---|---|---|---|---|
"""
FIRST_HEAD = """
## Version 1

The nodes before April 2024, which nothing answers to. A graph is migrated whole as it is opened in the browser, and \
so are a file by the command, a prompt that is sent, and one that is opened in the browser. The browser says which \
nodes were replaced, what was dropped and what will look different; Undo brings the old ones of a graph back, and the \
file stays as it is until it is saved. Where they \
hang together with nodes of version 2, those move too. Two encoders have the one name `IPAdapterEncoder`: they are \
told apart by their inputs, and so is the node `IPAdapter` of laksjdjf/IPAdapter-ComfyUI, which is left alone. Nodes \
of September 2023 that took a `CLIP_VISION_OUTPUT` are named in the report and left alone, with what feeds them.

| Old node | Becomes | Set | Dropped | What differs | In a new graph |
|---|---|---|---|---|---|
"""
FOOT = (
    """
## What differs

{}

## Programs and packs

Krita AI Diffusion, SwarmUI and other packs look for the old pack's ids, and so do graphs. Where no other pack has one \
of them when all packs are loaded, this pack answers to all 37: the same inputs, options, outputs and methods, on the \
nodes of the table above. They are marked as deprecated, so no search offers them. Where another pack has only one of \
them, it is left them all. The environment variable `IPADAPTER_OLD_IDS=off` turns it off.

An `IPADAPTER` of another pack's loader can be connected to **Apply IP-Adapter**.

Beside what the notes above say: without `weight_faceidv2`, FaceID Plus v2 follows the picture of the face at twice \
the weight, as there; the old `blur` is the width of a kernel, as there; embeds are saved as `.ipadpt`, as there; the \
weight types of the old pack's first version are linear, as there.

| Who | What was run here | State |
|---|---|---|
| Krita AI Diffusion 0217cd2 | Its own client and workflows, with its tooling nodes 5d3194f, inpaint nodes b32f293 and \
preprocessors e8b689a, in its strict mode: it connects, finds SD1.5 and SDXL, and draws on both a reference, three \
references, style, composition, all three kinds, a face, face and reference, regions with references; on SD1.5 it \
fills, \
expands and refines a selection. Prompts to its contract, in tests | Runs; in tests equal to this pack's own nodes |
| SwarmUI 062407c | Prompts to its contract, read off the steps of its workflow generator: file, preset, face by \
preset; its menus as it parses them | Equal to this \
pack's own nodes; the program was not run |
| Inspire Pack 1aef2c5 | On a server its pipe, its model helper, a region with a mask and a picture, and one with a \
colour and embeds; how its loader calls, in tests | Runs; in tests equal to this pack's own nodes |
| Impact Pack 727295b | On a server `IPAdapterApplySEGS` into its detailer, without its subpack and without feathering \
the mask, for which this state of it does not fit the newest ComfyUI; the calls in tests | Runs; in tests equal to \
this pack's own nodes |
| Easy-Use 4de1ab3 | On a server apply, chained, tiled, with a face; advanced, in a batch; embeds of two pictures; \
style and composition; two regions and their params; the calls in tests \
| Runs; in tests equal to this pack's own nodes |
| Steerable-Motion 3c28833 | On a server its interpolation of two pictures, fed by the loader of a file; its calls, in \
tests | Runs; its own copy of the old pack does the work |
| art-venture 51ed4a0 | Its *IP Adapter Apply* on a server, with the module that it looks for by folder put in its \
place | Runs; without that folder the pack does not offer its two IP-Adapter nodes |

The programs and packs were run by hand, with random models, for one or two steps of a small picture. SwarmUI's branch \
for the old pack's first version is not taken where these ids are there, and its last one, for laksjdjf's node \
`IPAdapter`, is another pack's: it is refused under its maker's name. \
Packs that import the old pack's module by its folder are not served.

## Public graphs

`python -m tools.old_graphs FOLDER` opens the graphs of a folder in ComfyUI's front end and asks its server whether \
they \
are valid there with this pack and without the old one. Nodes of other packs are taken as given, and files are taken \
to \
be there. Of 97 graphs from eight public repositories, 91 are valid as they are, \
30 of the 33 with nodes of version 1 among them, and as \
many after `python -m ipadapter.migrate`. The six others have a required input of an old node without a link in the \
file itself, five of them for a pack that links as a graph runs (Use Everywhere).

| Repository | Graphs | Valid, either way |
|---|---|---|
| cubiq/ComfyUI_IPAdapter_plus 9d076a3 and, of version 1, d87b7ce | 23 | 23 |
"""
    + COUNTED
    + """
This page is written by `python -m tools.migration_page`.
"""
)

PLAIN = "Encode Image Prompt, Apply IP-Adapter"
BY_FRAMES = f"{PLAIN}; `order` *frame by frame*"
FACES = "Load InsightFace, Encode Face Prompt, Apply IP-Adapter; FaceID Settings"
IN_A_NEW_GRAPH = {
    "IPAAdapterFaceIDBatch": f"{FACES}; `order` *frame by frame*",
    "IPAdapter": PLAIN,
    "IPAdapterAdvanced": f"{PLAIN}; `layers` for `weight_type`, Combine Image Prompts for `combine_embeds`",
    "IPAdapterApply": PLAIN,
    "IPAdapterApplyEncoded": "Apply IP-Adapter",
    "IPAdapterApplyFaceID": FACES,
    "IPAdapterBatch": BY_FRAMES,
    "IPAdapterBatchEmbeds": "Combine Image Prompts",
    "IPAdapterClipVisionEnhancer": f"{PLAIN}; `detail`",
    "IPAdapterClipVisionEnhancerBatch": f"{BY_FRAMES}, `detail`",
    "IPAdapterCombineEmbeds": "Combine Image Prompts",
    "IPAdapterCombineParams": "Image Prompt Region, one behind the other",
    "IPAdapterCombineWeights": "Image Prompt Frames",
    "IPAdapterEmbeds": "Apply IP-Adapter",
    "IPAdapterEmbedsBatch": "Apply IP-Adapter",
    "IPAdapterEncoder": "Encode Image Prompt",
    "IPAdapterFaceID": FACES,
    "IPAdapterFaceIDKolors": FACES,
    "IPAdapterFromParams": "Apply IP-Adapter",
    "IPAdapterInsightFaceLoader": "Load InsightFace",
    "IPAdapterLoadEmbeds": "Load Image Prompt",
    "IPAdapterMS": f"{PLAIN}; Image Prompt Layers",
    "IPAdapterModelLoader": "Load IP-Adapter",
    "IPAdapterNoise": "Image Prompt Noise",
    "IPAdapterPreciseComposition": f"{PLAIN}; `layers` *composition precise*",
    "IPAdapterPreciseCompositionBatch": f"{BY_FRAMES}, `layers` *composition precise*",
    "IPAdapterPreciseStyleTransfer": f"{PLAIN}; `layers` *style transfer precise*",
    "IPAdapterPreciseStyleTransferBatch": f"{BY_FRAMES}, `layers` *style transfer precise*",
    "IPAdapterPromptScheduleFromWeightsStrategy": "a text prompt for each frame, by another pack",
    "IPAdapterRegionalConditioning": "Image Prompt Region, or Apply IP-Adapter to Conditioning",
    "IPAdapterSaveEmbeds": "Save Image Prompt",
    "IPAdapterStyleComposition": f"{PLAIN} twice; `layers` *style transfer* and *composition*",
    "IPAdapterStyleCompositionBatch": f"{BY_FRAMES}; twice, `layers` *style transfer* and *composition*",
    "IPAdapterTiled": f"{PLAIN}; `fit` *tiles in place*",
    "IPAdapterTiledBatch": f"{BY_FRAMES}, `fit` *tiles in place*",
    "IPAdapterTilesMasked": f"{PLAIN}; `fit` *tiles in place*",
    "IPAdapterUnifiedLoader": "Find IP-Adapter",
    "IPAdapterUnifiedLoaderCommunity": "Find IP-Adapter",
    "IPAdapterUnifiedLoaderFaceID": "Find IP-Adapter; FaceID Settings",
    "IPAdapterWeights": "Image Prompt Frames",
    "IPAdapterWeightsFromStrategy": "Image Prompt Frames",
    "InsightFaceLoader": "Load InsightFace",
    "PrepImageForClipVision": "Prepare Reference Image",
    "PrepImageForInsightFace": "nothing: faces are found in the picture as it is",
}

ENGLISH = MigrationPage(
    file="docs/migration.md",
    head=HEAD,
    first_head=FIRST_HEAD,
    foot=FOOT,
    comma=", ",
    in_a_new_graph=IN_A_NEW_GRAPH,
)
