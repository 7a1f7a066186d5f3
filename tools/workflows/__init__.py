"""Writes the shipped workflows: `workflows/TITLE.json` as the front end saves it, a thumbnail beside it, and the same
graph in the API's format for the tests.

    python -m tools.workflows [NAME ...]

`shipped` declares what each graph is, `titles` what its file is called; the rest knows how a graph is laid out and
written down. Slots, widgets and their order come from a running server's own description of its nodes.
"""
