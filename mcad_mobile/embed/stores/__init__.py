"""What people search with on servers: shards are handed to it."""

from mcad_mobile.embed.stores.hand_over import hand_over, opened_stores

__all__ = ["hand_over", "opened_stores"]
