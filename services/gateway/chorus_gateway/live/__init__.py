"""What goes on at this moment, over all gateway workers: each tells Redis every second, the admin API adds it up."""

from chorus_gateway.live.board import Live, LiveBoard
from chorus_gateway.live.reports import LiveReports

__all__ = ["Live", "LiveBoard", "LiveReports"]
