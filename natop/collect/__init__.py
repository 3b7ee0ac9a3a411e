"""The only code that reads the kernel, Docker and the network. It returns bytes and text as they came."""
