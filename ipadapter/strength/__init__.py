"""How strongly an image prompt acts: by layer, by time, by picture."""
