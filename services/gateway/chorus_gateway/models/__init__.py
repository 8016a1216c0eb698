"""What a model's name means for the tenant that says it."""

from chorus_gateway.models.resolver import BaseModels, ModelCard, Resolver

__all__ = ["BaseModels", "ModelCard", "Resolver"]
