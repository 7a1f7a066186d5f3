"""Pictures: crops, tiles, noise, masks, and the pixels an encoder reads."""
