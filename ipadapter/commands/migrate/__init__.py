"""The command: `python -m ipadapter.migrate FILE …`."""
