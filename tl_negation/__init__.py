from ._newton import STATUSES
from .probe import unit_statistics
