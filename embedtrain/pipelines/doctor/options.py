"""The options of ``embedtrain doctor``."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What is looked at, and how it is shown.

    Args:
        network: Try to reach the hub where nothing forbids it; takes 3 seconds at most.
        json: Print JSON instead of text.
    """

    network: bool = True
    json: bool = False
