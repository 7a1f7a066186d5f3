"""Small random models under their public file names, which the host's own loaders accept.

For trying the plumbing where no real weights are at hand: every tensor a loader expects is there, in fp16, and nothing
in them was ever trained. The UNets have the right number of cross-attention layers (16 for SD1.5, 70 for SDXL) but 320
channels at every level; the adapters fit them. Encoders keep their full shape, because the host allows no other.

    python -m tools.standins sd15|sdxl|all
"""
