"""Words by which the nodes are found, in English and Chinese: one table, for they compete with each other.

The front end looks for every word of a search in one entry, a name or one of these, and puts names that hold the search
first. Old names of another pack stand here too, for who comes from there.
"""

from __future__ import annotations


def split_words(*texts: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for text in texts for word in text.split(",")]


WORDS: dict[str, list[str]] = {
    "FindIPAdapter": split_words(
        "ip adapter, ipadapter, unified loader, IPAdapterUnifiedLoader, preset, image prompt",
        "flux ip adapter, sd3 ip adapter",
        "适配器, 查找适配器, 图生图, 统一加载器, 预设",
    ),
    "LoadIPAdapter": split_words(
        "ip adapter, ipadapter, image prompt, IPAdapterModelLoader, flux ip adapter",
        "适配器, 加载适配器, 模型加载器",
    ),
    "DescribeIPAdapter": split_words(
        "ip adapter, ipadapter info, adapter details, inspect ip adapter",
        "适配器信息, 查看适配器",
    ),
    "LoadOpenCLIPVision": split_words(
        "open_clip, clip vision, image encoder",
        "图像编码器, 视觉编码器",
    ),
    "LoadSigLIPVision": split_words(
        "siglip, sigclip, clip vision, image encoder, flux ip adapter encoder",
        "图像编码器, 视觉编码器",
    ),
    "JoinImageEncoders": split_words(
        "instantcharacter, siglip, dinov2, clip vision, image encoder",
        "图像编码器, 视觉编码器",
    ),
    "LoadInsightFace": split_words(
        "insightface, face analysis, IPAdapterInsightFaceLoader, buffalo_l, antelopev2",
        "人脸识别, 人脸分析, 面部分析",
    ),
    "EncodeFacePrompt": split_words(
        "faceid, face id, ip adapter face, IPAdapterFaceID, portrait, consistent character, face swap",
        "人脸, 面部, 换脸, 角色一致性, 人物一致性, 肖像",
    ),
    "FaceIDSettings": split_words(
        "faceid, face id lora, weight_faceidv2, lora strength",
        "人脸设置, 面部设置",
    ),
    "DrawFaceKeyPoints": split_words(
        "instantid, instant id, face keypoints, FaceKeypointsPreprocessor, draw kps",
        "人脸关键点, 面部关键点",
    ),
    "PrepareReferenceImage": split_words(
        "ip adapter, reference, crop reference, sharpen, prep image, PrepImageForClipVision",
        "参考图, 裁剪参考图, 预处理",
    ),
    "EncodeImagePrompt": split_words(
        "ip adapter, image prompt, clip vision encode, IPAdapterEncoder, reference, img2img, tiled, tiles",
        "IPAdapterTiled, negative image",
        "图像提示, 图片提示, 参考图, 图生图, 垫图, 平铺, 分块",
    ),
    "CombineImagePrompts": split_words(
        "ip adapter, image prompt, merge embeds, average embeds, interpolate, IPAdapterCombineEmbeds",
        "合并, 混合, 平均",
    ),
    "ImagePromptNoise": split_words(
        "ip adapter, noise, negative, negative image, IPAdapterNoise",
        "噪声, 噪波, 负面, 负面图像",
    ),
    "ImagePromptRegion": split_words(
        "region, regional prompting, regional conditioning, attention mask, attention couple",
        "ipadapter mask",
        "区域, 分区, 遮罩, 蒙版",
    ),
    "SaveImagePrompt": split_words(
        "save embeds, IPAdapterSaveEmbeds, store image prompt, ipadpt",
        "保存图像提示",
    ),
    "LoadImagePrompt": split_words(
        "load embeds, IPAdapterLoadEmbeds, open image prompt, ipadpt",
        "加载图像提示",
    ),
    "ApplyIPAdapter": split_words(
        "ip adapter, ipadapter, image prompt, style transfer, style, composition, IPAdapterAdvanced",
        "ipadapter mask, ipadapter style, ipadapter weight, weight, reference only, flux ip adapter",
        "img2img",
        "适配器, 应用适配器, 图像提示, 风格, 风格迁移, 构图, 权重, 遮罩, 蒙版, 参考图, 图生图, 垫图",
    ),
    "ApplyIPAdapterToConditioning": split_words(
        "conditioning set image prompt, regional ip adapter, attention couple",
        "区域适配器, 局部",
    ),
    "ApplyInstantIDControlNet": split_words(
        "instantid, instant id, identitynet, ApplyInstantID, face controlnet",
        "换脸, 人脸控制",
    ),
    "ImagePromptLayers": split_words(
        "layer weights, mad scientist, weight type, style transfer, block weights, composition, style",
        "分层, 层权重, 风格, 构图, 权重, 分块权重",
    ),
    "ImagePromptCurve": split_words(
        "weight schedule, keyframes, timestep, curve, prompt scheduling",
        "曲线, 关键帧, 调度, 权重曲线",
    ),
    "ImagePromptFrames": split_words(
        "frame weights, weights by frame, animation, batch weights, fade",
        "动画, 关键帧, 逐帧, 批次权重, 视频",
    ),
    "RecordImagePromptAttention": split_words(
        "attention map, heat map, heatmap, attention heatmap, DAAM",
        "注意力图, 记录注意力",
    ),
    "ImagePromptAttention": split_words(
        "attention map, heat map, heatmap, attention heatmap, DAAM",
        "热力图, 注意力图, 可视化",
    ),
    "TrainIPAdapter": split_words(
        "ip adapter, train image prompt, finetune, training",
        "训练, 训练适配器, 微调",
    ),
    "SaveIPAdapter": split_words(
        "export ip adapter, save image prompt adapter, training",
        "保存适配器, 导出适配器",
    ),
    "EvaluateImagePrompt": split_words(
        "clip score, CLIP-I, CLIP-T, image similarity, evaluation, metrics",
        "评估, 相似度, 打分",
    ),
    "ImagePromptGrid": split_words(
        "contact sheet, xy plot, comparison grid, image grid, collage, compare",
        "网格, 对比, 拼图",
    ),
}
