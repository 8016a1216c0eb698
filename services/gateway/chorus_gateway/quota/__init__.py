"""How much a tenant may ask for: requests and tokens a minute, and requests in flight."""

from chorus_gateway.quota.base import Quota
from chorus_gateway.quota.degrading import DegradingQuota
from chorus_gateway.quota.memory import MemoryQuota
from chorus_gateway.quota.redis import RedisQuota

__all__ = ["DegradingQuota", "MemoryQuota", "Quota", "RedisQuota"]
