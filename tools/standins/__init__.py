"""Small random models under their public file names, which the host's own loaders accept.

For trying the plumbing where no real weights are at hand: every tensor a loader expects is there, in fp16, and nothing
in them was ever trained. The UNets have the right number of cross-attention layers (16 for SD1.5, 70 for SDXL) but 320
channels at every level, FLUX.1 dev has all its blocks but one head; the adapters fit them. CLIP's encoders keep their
full shape, because the host allows no other. For that reason T5-XXL, of 5 billion numbers, has no stand-in: FLUX reads
CLIP-L's text instead, through the host's Load CLIP. Nor has DINOv2-giant, and so InstantCharacter.

    python -m tools.standins sd15|sdxl|flux|all
"""
