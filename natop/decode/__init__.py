"""Raw parts of a Sample to model types. Pure: bytes and text in, values out, nothing raised on bad input."""
