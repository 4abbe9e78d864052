"""What the router did and what the sphere looks like: traces of many images, maps of them, measures, causes."""
