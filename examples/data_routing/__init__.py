"""Data routing: find a route, hand the data to one provider after the other; each answers by a callback over HTTP."""

from .routing import Delivery, Message, Network, route

__all__ = ["Delivery", "Message", "Network", "route"]
