"""Tests in the real front end. A package, so that its browser and server end with its last test."""
