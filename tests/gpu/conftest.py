"""This layer runs on a card, with the host's defaults there: `make gpu`. `make test` leaves it out."""

from tests.comfyui import output
from tests.gpu.card import start_host_on_card

__all__ = ["output"]

start_host_on_card()
