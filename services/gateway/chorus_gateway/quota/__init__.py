"""How much a tenant, a key and a tenant's use of an adapter may ask for: requests and tokens a minute, tokens a day,
money, and requests in flight."""

from chorus_gateway.quota.base import Quota
from chorus_gateway.quota.behind import SettlesBehind
from chorus_gateway.quota.degrading import DegradingQuota
from chorus_gateway.quota.memory import MemoryQuota
from chorus_gateway.quota.redis import RedisQuota

__all__ = ["DegradingQuota", "MemoryQuota", "Quota", "RedisQuota", "SettlesBehind"]
