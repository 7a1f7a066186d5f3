"""This layer runs on a card, with the host's defaults there: `make gpu`. `make test` leaves it out."""

from tests.gpu.card import start_host_on_card

start_host_on_card()
