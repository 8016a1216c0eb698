"""Which priority band a request goes to."""

from dataclasses import replace

from chorus_gateway.ask import Ask
from chorus_gateway.errors import PermissionDenied
from chorus_gateway.values import Band, Tenant

_BY_ITSELF = (Band.DEFAULT, Band.FLEX, Band.PRIORITY)  # where the client leaves the choice to the gateway


def in_band(ask: Ask, tenant: Tenant) -> Ask:
    """In a band that the tenant may use. PermissionDenied when it asks for another."""
    if ask.any_band:
        band = next((band for band in _BY_ITSELF if band in tenant.bands), Band.DEFAULT)
        return ask if band is ask.band else replace(ask, band=band)
    if ask.band not in tenant.bands:
        names = ", ".join(f"'{band.name.lower()}'" for band in sorted(tenant.bands))
        raise PermissionDenied(
            f"service_tier: your organization may not use '{ask.band.name.lower()}', only {names}: ask for one of those"
            " or leave it out.",
            param="service_tier",
            code="service_tier_not_allowed",
        )
    return ask
