"""Python imports this as it begins: see `tests/promises/planting.py`."""

from tests.promises.planting import plant_what_is_asked_for

plant_what_is_asked_for()
