"""Faces in pictures, through InsightFace."""
