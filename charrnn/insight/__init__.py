"""A page with pictures of what a network learned."""
