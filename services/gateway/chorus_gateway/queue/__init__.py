"""Who goes next: a bounded queue, fair among tenants inside priority bands."""
