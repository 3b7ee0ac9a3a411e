"""README's pictures, taken of the live view on the lab's real Docker host."""
