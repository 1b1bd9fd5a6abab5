"""Anomaly detection for APIs that sites learn together, without sharing a request.

Every learned object is a sum of integers: sites add theirs under masks, and what comes out is bit
for bit what their pooled traffic would have given.
"""

from apiwatch.calibration import Calibration
from apiwatch.detector import Detector, Judged, threshold_for
from apiwatch.event import Field, Place, Request
from apiwatch.federation import Federation
from apiwatch.logs import Format, Log
from apiwatch.settings import Settings
from apiwatch.table import Table, gather

__all__ = [
    "Calibration",
    "Detector",
    "Federation",
    "Field",
    "Format",
    "Judged",
    "Log",
    "Place",
    "Request",
    "Settings",
    "Table",
    "gather",
    "threshold_for",
]
