"""The page in Chinese, with the names that nodes have in the Chinese front end."""

from __future__ import annotations

from ipadapter.legacy.migration import first_rules, rules

from .counted import COUNTED
from .page import MigrationPage

HEAD = """\
# ComfyUI_IPAdapter_plus 的工作流

ComfyUI_IPAdapter_plus（提交 9d076a3）的每个节点变成什么。ComfyUI 的节点替换与命令用的是同一套规则。

- **什么也不做**：没有别的节点包提供旧 id 时，本节点包应答全部旧 id，旧的工作流、程序和节点包不作任何改动就能\
继续使用（[见下](#程序和节点包)）。
- **在浏览器中**：关闭旧 id 之后，ComfyUI 把旧节点显示为缺失，并提议替换。\
[第 1 版](#第-1-版)的节点在打开工作流时就会替换。\
其他节点包中用了旧 id 的节点，打开时显示为缺失的节点，并写明属于谁，例如 *IPAdapter (laksjdjf/IPAdapter-ComfyUI)*，\
保存时保持原样。
- **经过 API**：关闭旧 id 之后，含旧节点的提示到达时会改好。
- **文件**：在节点包的文件夹里执行 `python -m ipadapter.migrate FILE …`，可以改写工作流和 API 提示，PNG 中的也可以。\
就地改写并留下备份（`FILE.bak`），或用 `--output` 或 `--suffix` 写成新文件，或用 `-` 从标准输入到标准输出；一个文件中\
两种格式都有的导出，以及节点模板，也会打开；编码、换行、缩进、权限和链接保持原样；`--dry-run` 只报告，\
`--report` 把报告写成 JSON。其他节点包的节点，以及没有什么可改的文件，保持原样。

名字以 *Legacy* 开头的节点，输入和选项与旧节点相同，调用的引擎与其他节点相同。它们是给旧工作流用的；新的工作流用新节点\
更清楚，最后一列写出了是哪些。旧前端的组节点会在报告中指出，但不改动。互相传递适配器、嵌入等的节点会一起改写。\
不适合其控件的值会报告；在工作流中由通常的值代替。节点不会比它所代替的更大：放不下旧节点没有的东西时，就把它们隐藏\
起来，直到你在节点菜单中选择 *Show All Inputs*。Nodes 2.0 把每个节点都画得比画布上的高，靠得很近的节点在那里会重叠，\
无论是否替换过。其他程序的用语见 [coming-from.md](coming-from.md)。

## 第 2 版

| 旧节点 | 变成 | 设置 | 去掉 | 有何不同 | 在新的工作流中 |
|---|---|---|---|---|---|
"""
FIRST_HEAD = """
## 第 1 版

2024 年 4 月之前的节点，它们无人应答。在浏览器中打开工作流时，会整个改写；\
命令改写文件，发来的提示、在浏览器中打开的提示也会改写。浏览器会说明\
替换了哪些节点、去掉了什么、画面会有什么不同；撤销可以恢复工作流的旧节点，\
文件在保存之前保持原样。与第 2 版的节点连在一起时，\
那些也会一起改写。有两个编码器同名 `IPAdapterEncoder`：按它们的输入来区分；\
laksjdjf/IPAdapter-ComfyUI 的节点 `IPAdapter` 也是如此，\
它保持原样。2023 年 9 月那些接收 `CLIP_VISION_OUTPUT` 的节点，会连同接到它们的节点在报告中指出，但不改动。

| 旧节点 | 变成 | 设置 | 去掉 | 有何不同 | 在新的工作流中 |
|---|---|---|---|---|---|
"""
FOOT = (
    """
## 有何不同

{}

## 程序和节点包

Krita AI Diffusion、SwarmUI 和其他节点包会寻找旧节点包的 id，工作流也一样。全部节点包加载之后，如果没有别的节点包\
提供其中任何一个，本节点包就应答全部 37 个：输入、选项、输出和方法都相同，用的是上表中的节点。它们标记为已弃用，\
因此搜索不会列出。只要有别的节点包提供其中一个，就全部让给它。环境变量 `IPADAPTER_OLD_IDS=off` 可以关闭这项功能。

其他节点包的加载器输出的 `IPADAPTER` 可以接到**应用 IP-Adapter**。

除了上面所说的：没有 `weight_faceidv2` 时，FaceID Plus v2 以两倍的权重跟随脸的图像，与那边相同；旧的 `blur` 是卷积核的\
宽度，与那边相同；嵌入存成 `.ipadpt`，与那边相同；旧节点包第 1 版的权重类型为 linear，与那边相同。

| 谁 | 在这里运行过什么 | 状态 |
|---|---|---|
| Krita AI Diffusion 0217cd2 | 它自己的客户端和工作流，配它的 tooling nodes 5d3194f、inpaint nodes b32f293 和预处理器 \
e8b689a，在严格模式下：能连接，能找到 SD1.5 和 SDXL，在两者上都能画参考图、三张参考图、风格、构图、三种一起、人脸、\
人脸加参考图、带参考图的区域；在 SD1.5 上能填充、扩展和修整选区。按其约定的提示，在测试中 | 可以运行；\
在测试中与本节点包自己的节点一致 |
| SwarmUI 062407c | 按其约定的提示（从其工作流生成器的步骤中读出）：\
文件、预设、用预设跟随人脸；它所解析的菜单 | 与本节点包自己的节点一致；\
程序本身没有运行 |
| Inspire Pack 1aef2c5 | 在服务器上：它的管道、模型助手、一个带遮罩和图片的区域、一个带颜色和嵌入的区域；\
它的加载器的调用方式，在测试中 | 可以运行；在测试中与本节点包自己的节点一致 |
| Impact Pack 727295b | 在服务器上：`IPAdapterApplySEGS` 接到它的细化节点，没有它的子包，也没有羽化遮罩，因为它的这个\
状态在这方面不适合最新的 ComfyUI；调用，在测试中 | 可以运行；在测试中与本节点包自己的节点一致 |
| Easy-Use 4de1ab3 | 在服务器上：应用，串联、分块、带人脸；高级，批次；两张图的嵌入；风格和构图；两个区域及其参数；\
调用，在测试中 | 可以运行；在测试中与本节点包自己的节点一致 |
| Steerable-Motion 3c28833 | 在服务器上：它在两张图之间的插值，接某个文件的加载器；它的调用，在测试中 | 可以运行；\
起作用的是它自带的旧节点包 |
| art-venture 51ed4a0 | 在服务器上：它的 *IP Adapter Apply*，把它按文件夹寻找的模块放在相应位置 | 可以运行；\
没有那个文件夹时，它不提供自己的两个 IP-Adapter 节点 |

这些程序和节点包是手工运行的，用随机模型，小图，一两步。有这些 id 时，SwarmUI 不会走它为旧节点包第 1 版准备的分支；\
它最后一个分支用的是 laksjdjf 的节点 `IPAdapter`，属于另一个节点包：\
这样的提示会以其作者的名字被拒绝。按文件夹导入旧节点包模块的节点包，这里帮不上忙。

## 公开的工作流

`python -m tools.old_graphs FOLDER` 在 ComfyUI 的前端中打开一个文件夹里的工作流，并问服务器：有本节点包而没有旧节点包\
时，它们是否有效。其他节点包的节点视为有效，文件视为齐全。八个公开仓库的 97 个工作流中，原样有效的有 91 个，\
其中含有第 1 版节点的 33 个里有 30 个；经过 `python -m ipadapter.migrate` 之后同样有 91 个。\
其余六个在文件里就有旧节点的必需输入没有连线，\
其中五个靠一个在运行时才连线的节点包（Use Everywhere）。

| 仓库 | 工作流 | 两种方式都有效 |
|---|---|---|
| cubiq/ComfyUI_IPAdapter_plus 9d076a3，以及第 1 版的 d87b7ce | 23 | 23 |
"""
    + COUNTED
    + """
本页由 `python -m tools.migration_page` 写出。
"""
)

PLAIN = "编码图像提示、应用 IP-Adapter"
BY_FRAMES = f"{PLAIN}；`order` *frame by frame*"
FACES = "加载 InsightFace、编码人脸提示、应用 IP-Adapter；FaceID 设置"
IN_A_NEW_GRAPH = {
    "IPAAdapterFaceIDBatch": f"{FACES}；`order` *frame by frame*",
    "IPAdapter": PLAIN,
    "IPAdapterAdvanced": f"{PLAIN}；`layers` 代替 `weight_type`，合并图像提示代替 `combine_embeds`",
    "IPAdapterApply": PLAIN,
    "IPAdapterApplyEncoded": "应用 IP-Adapter",
    "IPAdapterApplyFaceID": FACES,
    "IPAdapterBatch": BY_FRAMES,
    "IPAdapterBatchEmbeds": "合并图像提示",
    "IPAdapterClipVisionEnhancer": f"{PLAIN}；`detail`",
    "IPAdapterClipVisionEnhancerBatch": f"{BY_FRAMES}、`detail`",
    "IPAdapterCombineEmbeds": "合并图像提示",
    "IPAdapterCombineParams": "图像提示区域，前后相接",
    "IPAdapterCombineWeights": "图像提示帧",
    "IPAdapterEmbeds": "应用 IP-Adapter",
    "IPAdapterEmbedsBatch": "应用 IP-Adapter",
    "IPAdapterEncoder": "编码图像提示",
    "IPAdapterFaceID": FACES,
    "IPAdapterFaceIDKolors": FACES,
    "IPAdapterFromParams": "应用 IP-Adapter",
    "IPAdapterInsightFaceLoader": "加载 InsightFace",
    "IPAdapterLoadEmbeds": "加载图像提示",
    "IPAdapterMS": f"{PLAIN}；图像提示的层",
    "IPAdapterModelLoader": "加载 IP-Adapter",
    "IPAdapterNoise": "图像提示噪声",
    "IPAdapterPreciseComposition": f"{PLAIN}；`layers` *composition precise*",
    "IPAdapterPreciseCompositionBatch": f"{BY_FRAMES}、`layers` *composition precise*",
    "IPAdapterPreciseStyleTransfer": f"{PLAIN}；`layers` *style transfer precise*",
    "IPAdapterPreciseStyleTransferBatch": f"{BY_FRAMES}、`layers` *style transfer precise*",
    "IPAdapterPromptScheduleFromWeightsStrategy": "每帧一条文字提示，由其他节点包提供",
    "IPAdapterRegionalConditioning": "图像提示区域，或应用 IP-Adapter 到条件",
    "IPAdapterSaveEmbeds": "保存图像提示",
    "IPAdapterStyleComposition": f"{PLAIN}，两次；`layers` *style transfer* 和 *composition*",
    "IPAdapterStyleCompositionBatch": f"{BY_FRAMES}；两次，`layers` *style transfer* 和 *composition*",
    "IPAdapterTiled": f"{PLAIN}；`fit` *tiles in place*",
    "IPAdapterTiledBatch": f"{BY_FRAMES}、`fit` *tiles in place*",
    "IPAdapterTilesMasked": f"{PLAIN}；`fit` *tiles in place*",
    "IPAdapterUnifiedLoader": "查找 IP-Adapter",
    "IPAdapterUnifiedLoaderCommunity": "查找 IP-Adapter",
    "IPAdapterUnifiedLoaderFaceID": "查找 IP-Adapter；FaceID 设置",
    "IPAdapterWeights": "图像提示帧",
    "IPAdapterWeightsFromStrategy": "图像提示帧",
    "InsightFaceLoader": "加载 InsightFace",
    "PrepImageForClipVision": "准备参考图",
    "PrepImageForInsightFace": "不需要：直接在原图中找脸",
}
NOTES = {
    rules.MIDDLE_ACTS.text: "中间块现在参与进来，旧节点包误把它漏掉了，因此图像的作用略强一些；"
    "要旧的画面，请关闭 middle_block。",
    rules.BLACK_PICTURE.text: "Plus 系列的适配器在没有负向图像时，得到的是训练时所用的东西，旧节点包给的是黑色图片；"
    "要旧的画面，请把黑色图片接到 image_negative。",
    rules.ONCE.text: "多次运行不再累积：旧节点包改动了交给它的模型，因此第二次运行，或同一模型上的第二个节点，"
    "作用会更强。如果画面现在太弱，请提高 weight。",
    rules.LARGEST_FACES.text: "读取每张参考图中最大的脸，旧节点包读取最先找到的脸；weight_faceidv2 和 LoRA 的作用"
    "与原来相同。没有 FaceID 适配器时，给模型看的是整张参考图。",
    rules.IGNORED_TYPE.text: "layer_weights 不为空，因此不读 weight_type，与旧节点包相同。",
    rules.PRECISE_BY_LAYER.text: "layer_weights 与精确的权重类型一起用时，不再把其他层推开；请用两个节点，"
    "一个用精确的类型，一个用 layer_weights。",
    rules.TILES.text: "分块重叠的地方由它们分担，旧节点包两块都完整显示。",
    rules.LORA_INSIDE.text: "LoRA 就在适配器自己的文件里，不需要别的文件；适配器丢了 LoRA 时，"
    "会在 models/loras 中找到那个文件。",
    rules.FOUND_BY_CONTENT.text: "适配器和编码器按文件的内容而不是名字来找；节点会说明取了哪些。",
    rules.NOISE.text: "噪声由 seed 而不是由图片产生，因此是同一种噪声，但不是同一个。",
    rules.BLUR.text: "blur 现在是以像素计的标准差，旧的是卷积核的宽度：请写旧数值的六分之一左右。",
    rules.INTERPOLATION.text: "不论 interpolation 是什么，图片都用带抗锯齿的双三次插值缩放。",
    rules.LOAD_EMBEDS.text: "以 .ipadpt 结尾的文件没有写明由哪个编码器生成，而 Plus 系列的适配器需要知道："
    "请把加载 CLIP 视觉接到这里的 clip_vision，或接到应用嵌入的地方，或重新编码图片。"
    "旧节点包第 1 版的文件不能读取：请重新编码图片。",
    rules.SAVE_EMBEDS.text: "文件以 safetensors 写出，并写明由哪个编码器生成。",
    rules.NEUTRAL.text: "neg_embed 是训练适配器时用来代替图像的东西，旧节点包给 Plus 系列的适配器的是黑色图片。",
    rules.RANDOM.text: "timing 为 random 时，权重每次运行都相同，旧节点包每次重新抽取。",
    first_rules.FIRST_NOISE_NOTE.text: "noise 与原来一样，用打乱并加了噪声的参考图代替“无图像”；"
    "是同一种噪声，但不是同一个。",
    first_rules.FIRST_NEUTRAL.text: "代替“无图像”的是训练适配器时所用的东西，"
    "旧节点包给 Plus 系列的适配器的是黑色图片。",
}

CHINESE = MigrationPage(
    file="docs/zh/migration.md",
    head=HEAD,
    first_head=FIRST_HEAD,
    foot=FOOT,
    comma="、",
    in_a_new_graph=IN_A_NEW_GRAPH,
    notes=NOTES,
)
