"""The shipped workflows' notes and titles in Chinese, with nodes and inputs as the Chinese front end names them."""

from __future__ import annotations

from collections.abc import Mapping

from .graph import Headings, Note
from .models import FACE_ID as FACE_FILE
from .models import FLUX_CHARACTER as CHARACTER_FILE
from .models import INSTANTID as INSTANTID_FILE
from .models import SD35_INSTANTX as SD35_FILE

HEADINGS = Headings("可以改什么", "文件", "下载后都改成这里的名字保存，再按 R。", "，放入 models/")

TITLES: Mapping[str, str] = {
    "About this workflow": "关于这个工作流",
    "Reference image": "参考图",
    "Positive prompt": "正面提示词",
    "Negative prompt": "负面提示词",
    "No negative prompt": "没有负面提示词",
    "Style": "风格",
    "Composition": "构图",
    "Structure image": "结构图",
    "Edges": "边缘",
    "Image to change": "要修改的图",
    "Image to repair, with a mask": "要修补的图（带遮罩）",
    "Subject": "主体",
    "Mood": "氛围",
    "Person on the left": "左边的人",
    "Person in the middle": "中间的人",
    "Person on the right": "右边的人",
    "What this one does": "这个人在做什么",
    "Nowhere": "空白",
    "Picture of a person": "人物图",
    "The face that is read": "读取到的人脸",
    "Picture of the pose": "姿势图",
    "Where the face is to be": "人脸放在哪里",
    "Reference image, not square": "非方形参考图",
    "First reference": "第一张参考图",
    "Second reference": "第二张参考图",
    "First fades out": "第一张淡出",
    "Second fades in": "第二张淡入",
    "Weight 0": "权重 0",
    "Weight 0.5": "权重 0.5",
    "Weight 1": "权重 1",
    "Each picture's numbers": "每张图的数值",
    "No caption": "无文字说明",
    "Models": "模型",
    "Image prompt": "图像提示",
    "Text prompt": "文字提示",
    "Sampling": "采样",
    "Result": "结果",
    "Structure": "结构",
    "ControlNet": "ControlNet",
    "Start": "起点",
    "First image prompt": "第一个图像提示",
    "Second image prompt": "第二个图像提示",
    "Left": "左",
    "Middle": "中",
    "Right": "右",
    "Together": "合在一起",
    "Faces": "人脸",
    "Face prompt": "人脸提示",
    "Adapter": "适配器",
    "Who it is": "是谁",
    "Reference": "参考",
    "Weight over the sampling": "采样中的权重",
    "Weights by frame": "逐帧权重",
    "Where it acted": "作用在哪里",
    "Three weights": "三个权重",
    "Size": "尺寸",
    "All pictures": "全部图片",
    "Look": "看",
    "Measure": "测量",
    "Pictures and captions": "图片与文字说明",
    "Training": "训练",
    "The trained adapter": "训练好的适配器",
    "The trained adapter at work": "使用训练好的适配器",
}

NOTES: Mapping[str, Note] = {
    "image_prompt": Note(
        "图像提示",
        "参考图代替文字，说明画什么。图像编码器把它变成特征，IP-Adapter 把特征变成提示，检查点照着画。"
        "这里的文字只要求画得好。",
        (
            "**参考图**：换成自己的。编码器看到的是一个方形，**适配方式**决定图片怎样变成方形。",
            "**权重**：1 只听参考图；越低，留给检查点的越多。",
            "**检查点**：任何 SD1.5 模型都可以。",
            "**预设**：*PLUS* 更贴近参考图。**查找 IP-Adapter** 会打开你的文件来辨认，文件叫什么名字都行，"
            "并说明用了哪些。",
        ),
    ),
    "image_and_text_prompt": Note(
        "图像加文字",
        "两种提示同时起作用：参考图给出主体，文字说明要有什么不同。权重就是两者之间的平衡。",
        (
            "**正面提示词**：写参考图里没有的：季节、地点、衣服、技法。",
            "**权重**：0.5 左右两者都听。忘了参考图就调高，不理文字就调低。",
            "**结束位置**：例如 0.6，最后几步只听文字。",
        ),
    ),
    "image_prompt_with_controlnet": Note(
        "画什么来自一张图，画在哪里来自另一张",
        "参考图说明画什么。结构图的边缘通过 ControlNet 说明各样东西在哪里。两者互不相干。",
        (
            "**参考图**和**结构图**：用两张不同的图。",
            "**Canny边缘检测**：阈值越低，找到的边缘越多；预览里看得到。",
            "ControlNet 的**强度**：越低，画面越可以离开边缘。",
            "应用 IP-Adapter 的**权重**：越低，留给检查点和文字的越多。",
            "其他用于 SD1.5 的 ControlNet 或 T2I-Adapter 都可以放在同一位置。",
        ),
    ),
    "image_to_image": Note(
        "把一张图画得更像另一张",
        "采样不从噪声开始，而从要修改的图开始；参考图说明往哪里走。",
        (
            "K采样器的**降噪**决定走多远：0.4 保留原图的大部分，0.8 只剩大致轮廓。",
            "**权重**：参考图拉得多用力。",
            "**要修改的图**：大小和形状不限。它会缩放到 512 × 512 那么多像素，SD1.5 就是为此训练的。",
        ),
    ),
    "inpainting": Note(
        "把一张图放进另一张",
        "只重画遮罩内的部分，画什么由参考图决定。",
        (
            "**遮罩**：右键点要修补的图，选择*在遮罩编辑器中打开*，涂抹要替换的地方。没有遮罩就什么都不换。",
            "K采样器的**降噪**：越低，遮罩下的原样保留得越多。",
            "**权重**：新画的部分跟随参考图有多紧。",
            "**正面提示词**：只看参考图还不清楚时，写出那里该有什么。",
        ),
    ),
    "two_adapters": Note(
        "同时用两个适配器",
        "每个“应用 IP-Adapter”都给送来的模型加上一个图像提示，所以可以串联。这里一个适配器带来主体，"
        "另一个较弱地带来氛围。",
        (
            "各自的**权重**：它们会相加，画面过头时两个都调低。",
            "**开始位置**和**结束位置**：前一半步数给主体，后一半给氛围。",
            "应用 IP-Adapter 的**遮罩**：让每个图像提示各管画面的一部分。",
            "一个适配器也可以用两次：把它连到两处。",
        ),
    ),
    "sdxl_plus": Note(
        "SDXL 的图像提示",
        "与 SD1.5 相同，只是尺寸为 1024 × 1024。Plus 适配器逐块读取图像，比基础适配器保留更多参考图的内容。",
        (
            "**检查点**：任何 SDXL 模型都可以；SD1.5 模型要用 SD1.5 的适配器。",
            "**图像编码器**：名字里有 *vit-h* 的适配器用与 SD1.5 相同的编码器；ip-adapter_sdxl 用 ViT-bigG。",
            "**权重**：0.5 到 0.8 给文字留有余地。",
        ),
    ),
    "train_ip_adapter": Note(
        "训练适配器",
        "送进带文字说明的图片，得到一个适配器：检查点不变，只学习图像投影和图像的键与值。"
        "这里从一个已发布的适配器接着训练，"
        "短时间就能让它靠近你的图片。训练好的适配器存入 output/ipadapter，并立即在右边使用。",
        (
            "**加载图像和文本数据集**：在 ComfyUI 的 input 文件夹里建一个 *training* 文件夹，放入图片，"
            "每张图的说明写在同名的 .txt 文件里，按 R 后选择它。没有 .txt 的图片按空说明训练。",
            "**步数** × **批次大小** ÷ 图片数，就是每张图被看到的次数。远超过一百次，就会把少数几张图背下来。",
            "**批次大小**：内存不够时调低，同时把**梯度累积**提高同样的倍数。",
            "**适配器**：断开就从头训练。要能跟随任意图片，需要论文那样的数据量（几百万张图，一百万步）；"
            "对一个主体训练几千步，可以得到一个粗略的适配器。",
            "随时可以取消：学到的内容保存在 output/ipadapter。",
        ),
    ),
    "evaluate_image_prompt": Note(
        "观察与测量",
        "同一张参考图、同一段文字、同一个种子，三个权重。对照图用来看，数值用来比：CLIP-I 表示图与参考图有多近，"
        "CLIP-T 表示图与文字有多近。权重升高时，前者应当升高，后者多半下降。",
        (
            "**正面提示词**和**文字说明**：保持一致，CLIP-T 量的才是所要求的内容。",
            "**权重 0、0.5、1**：可以换成别的；也写进**列标签**。",
            "**每张图的数值**：一张图一行，顺序与对照图相同。上面的平均值是三个权重合在一起的。",
            "每个权重只有一张图说明不了什么：值得一提的数值需要很多参考图和种子，"
            "用 `python -m ipadapter.evaluate` 来做。",
            "CLIP 指标偏向以 CLIP 为条件的方法：把 DINOv2 编码器连到 **DINO 编码器**，作为第二种意见。",
        ),
    ),
    "faceid": Note(
        "人物",
        "FaceID 适配器跟随的是这个人是谁，而不是某张照片的样子：识别模型认出是谁，FaceID Plus 还看脸的样子。"
        "它的文件里有一个 LoRA，“应用 IP-Adapter”会把它加到模型上。",
        (
            f"**IP-Adapter**：[{FACE_FILE.name}]({FACE_FILE.url})，放入 models/ipadapter。",
            "需要 Python 包 insightface 和模型包 "
            "[buffalo_l](https://github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_l.zip)，"
            "解压到 models/insightface/models/buffalo_l。该模型包只许用于非商业研究。",
            "**人物图**：取最大的脸；编码人脸提示的**人脸**可以选另一张。",
            "FaceID 设置的**结构**：越低，头发、姿势和光线越由文字决定。",
            "**LoRA 权重**：越低越听文字。",
            "**权重**：0.7 到 1。",
        ),
    ),
    "style_transfer": Note(
        "一张图的风格",
        "只有模型中承载风格的层跟随参考图；画什么由文字决定。为 SDXL 而设，它的风格有单独的块。",
        (
            "**参考图**：风格明显的图：一幅画、一张版画、一帧电影。",
            "**正面提示词**：写画什么。不用写风格，参考图已经说了。",
            "**权重**：风格太淡时可以到 1.5 或 2。",
            "**层**：*strong style transfer* 用除构图以外的所有层；*style transfer precise* 还会推开参考图的构图。",
            "用于 SD1.5 也可以，只是没有这么干净：那里的风格分散在很多层。",
        ),
    ),
    "composition": Note(
        "一张图的构图",
        "只有模型中承载构图的层跟随参考图：什么在哪里。是什么、什么样子，由文字决定。",
        (
            "**参考图**：形状清楚的图；草图或别的东西的照片都行。",
            "**正面提示词**：这样的布局里画什么。",
            "**权重**：0.6 只当作建议，1 就跟得很紧。",
            "**结束位置**：0.6 让最后几步自由发挥；构图早就定了。",
            "边缘 ControlNet 把轮廓保持得更准；这里保持的是布局。",
        ),
    ),
    "style_and_composition": Note(
        "风格来自一张图，构图来自另一张",
        "一个适配器上的两个图像提示。第一个作用于风格的层，第二个作用于构图的层：层不同，互不打扰。",
        (
            "**风格**和**构图**：两张图；各自都看到整张。",
            "各自的**权重**：跟随得有多紧。",
            "**正面提示词**：两张图没有说清的地方，由文字来说。",
            "如果两种作用来自同一张图，一个“应用 IP-Adapter”选 *style and composition* 就够了。",
        ),
    ),
    "three_regions": Note(
        "三个人，各自来自一张图",
        "每个“图像提示区域”把一个图像提示和一段文字绑在画面的一部分上；串联起来，一个适配器一次就能完成。"
        "整幅画面的文字与它们合在一起。",
        (
            "**左边、中间、右边的人**：三张肖像。要像，就用 *plus-face* 适配器，并裁剪到脸。",
            "**遮罩**：这里是边缘柔和的三等分。任何遮罩都行，手绘的也行；重叠处 *share* 保持一个的强度。",
            "**这个人在做什么**：只用于一个区域的文字。",
            "**正面提示词**：整个场景。",
            "区域的**权重**：某个人压过别人时调低。",
        ),
    ),
    "animation": Note(
        "一批图，从一张过渡到另一张",
        "这一批的每一帧都有自己的权重：第一张参考图淡出，第二张淡入。把检查点换成 AnimateDiff 模型，或加上上下文窗口，"
        "就是动画；现在这样是一排图。",
        (
            "**逐帧权重**：键入数字，或选择一种过渡方式。超出的帧保持最后一个权重。",
            "空Latent图像的**批量大小**：有多少帧；也写进**帧数**。",
            "每帧一张参考图：加载一批图，并把编码图像提示的**顺序**设为 *frame by frame*。",
        ),
    ),
    "weight_curve": Note(
        "采样中变化的权重",
        "前几步布局时由图像提示主导，其余交给文字。曲线与“应用 IP-Adapter”的权重相乘。",
        (
            "**关键帧**：位置: 权重；0 是第一步，1 是最后一步。",
            "**插值方式**：怎样从一个过渡到下一个。节点上的图会画出来。",
            "**曲线**：连接曲线编辑器，就可以手绘。",
            "别的层用别的曲线：再应用一次，选别的**层**。",
        ),
    ),
    "wide_reference": Note(
        "又宽又不太清晰的参考图",
        "图像编码器看到的是一个小方形。分块可以读完整张非方形的图，每块都是原尺寸；锐化找回缩小时丢掉的细节。",
        (
            "**参考图**：全景、长海报、截图。",
            "**锐化**：0 为不锐化；超过 0.6 会显得生硬。",
            "**适配方式**：*tiles in place* 让每块作用于画面中自己的位置；*pad* 一次读完整张，但更小。",
            "准备参考图的**裁剪**：*to mask* 只取图上涂抹的部分。",
        ),
    ),
    "attention_map": Note(
        "看图像提示作用在哪里",
        "模型在采样时记录注意力的输出有多少来自图像提示，热力图把它叠在画面上。亮处跟随参考图，暗处跟随文字。",
        (
            "**层**、**开始步**、**结束步**：只看一部分；不需要重新采样。",
            "**图像提示序号**：多个图像提示中的一个。",
            "**遮罩**：热力图本身，供其他节点使用。",
            "去掉这两个节点就不记录，采样与原来一样快。",
        ),
    ),
    "flux": Note(
        "FLUX 的图像提示",
        "FLUX.1 dev 画文字所说的，图像提示在每个双流块之后加入。模型本来就紧跟文字，用**引导**代替 CFG，"
        "所以没有负面提示词。",
        (
            "**权重**：从 0.8 开始；0.6 给文字留得更多。超过 1 画面很快就坏。",
            "**正面提示词**：写完整的句子。文字与图像矛盾时，先缩短文字，再提高权重。",
            "K采样器的 **cfg** 保持 1。更高要两倍时间，只有那时负面提示词或负向图像才起作用。",
            "**结束位置**：例如 0.6，最后几步听文字。",
            "**UNet加载器**：FLUX.1 Krea dev 和 Kontext 结构相同；schnell 不那么跟随图像。"
            "dev 和这个适配器的许可不可商用。",
            "InstantX 的适配器 flux-ip-adapter-instantx.bin 读取 SigLIP：用**加载 SigLIP 视觉模型**代替加载CLIP视觉。"
            "**查找 IP-Adapter** 能找到任一个和它的编码器。",
            "同一页面上的 t5xxl_fp8_e4m3fn.safetensors 只要一半内存。",
        ),
    ),
    "flux_controlnet": Note(
        "FLUX：画什么来自一张图，画在哪里来自另一张",
        "参考图说明画什么。结构图的边缘通过 FLUX 的 ControlNet 说明各样东西在哪里。两者互不相干。",
        (
            "**参考图**和**结构图**：用两张不同的图。",
            "ControlNet 的**强度**：这一个用 0.6 到 0.8；**结束百分比** 0.5 让细节自由发挥。",
            "**Canny边缘检测**：阈值越低，找到的边缘越多；预览里看得到。",
            "应用 IP-Adapter 的**权重**：0.6 到 1。",
            "其他用于 FLUX.1 dev 的 ControlNet 放在同一位置。InstantX 和 Shakker 的读取 latent："
            "把 VAE 也连到应用ControlNet。",
        ),
    ),
    "flux_character": Note(
        "FLUX：同一个主体，另一个场景",
        "InstantCharacter 通过两个图像编码器读取参考图及其四个象限的图块，保持一个主体：人物、玩具、画出来的角色。"
        "文字说明它在哪里、做什么。",
        (
            f"**IP-Adapter**：[{CHARACTER_FILE.name}]({CHARACTER_FILE.url})，放入 models/ipadapter。",
            "**参考图**：完整的主体，背景干净，方形；不是方形会被拉成方形。",
            "**权重**：0.8 到 0.9。越低，留给文字的越多。",
            "**正面提示词**：场景和发生的事；画面忘了主体时写出主体。",
            "K采样器的 **cfg** 保持 1。更高时图像在两边都起作用。",
            "两个编码器由**合并图像编码器**合在一起；**查找 IP-Adapter** 选预设 *FLUX InstantCharacter* 会自己完成。",
            "适配器有 5.6 GB，采样时要放在显卡上，它的提示每一步都重新计算。",
        ),
    ),
    "sd35": Note(
        "SD3.5 Large 的图像提示",
        "在 SD3.5 Large 的每个块中，画面除了自身还关注图像提示。模型从参考图读到什么随噪声而变：先是布局，最后是细节。",
        (
            f"**IP-Adapter**：[{SD35_FILE.name}]({SD35_FILE.url})，放入 models/ipadapter。",
            "**权重**：0.5 到 0.7。更高会紧跟参考图，很快就忘了文字。",
            "**正面提示词**：写完整的句子，主体与参考图相同；或者写得短。",
            "**cfg**：3.5 到 5。负面提示词照常起作用；编码图像提示的**负向图像**也一样。",
            "**结束位置**：例如 0.7，最后几步听文字。",
            "每一步会慢一些，因为每个块多一次注意力；适配器有 1.6 GB，采样时要放在显卡上。",
            "检查点里有它的三个文本编码器。用UNet加载器和三重CLIP加载器也可以；SD3.5 Medium 和 SD3 不行。",
        ),
    ),
    "instantid": Note(
        "InstantID：让一个人出现在你想要的位置",
        "SDXL 的 InstantID 用两样东西说明是谁：适配器，与其他人脸相同；还有它的 ControlNet，它也读取脸在哪里、"
        "朝向哪边。"
        "两者读取同一个人脸提示。",
        (
            f"**IP-Adapter**：[{INSTANTID_FILE.name}]({INSTANTID_FILE.url})，放入 models/ipadapter。",
            "需要 Python 包 insightface 和模型包 "
            "[antelopev2](https://github.com/deepinsight/insightface/releases/download/model-zoo/antelopev2.zip)，"
            "解压到 models/insightface/models/antelopev2。该模型包只许用于非商业研究。",
            "**人物图**：取最大的脸；编码人脸提示的**人脸**可以选另一张。",
            "**姿势图**：任何一张脸的位置、大小和朝向合适的图：同一张，或别人的。",
            "应用 IP-Adapter 的**权重**和应用 InstantID ControlNet 的**强度**：各 0.8。要姿势更自由就降低强度，"
            "要更听文字就降低权重。",
            "**cfg**：4 到 5。再高画面会烧焦。",
            "另一个图像提示，例如风格，放在模型与这个“应用 IP-Adapter”之间。",
        ),
    ),
}
