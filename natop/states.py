"""TCP's conntrack states in the four parts that people look at, by their names in `uapi.TcpState`."""

ESTABLISHED = ("ESTABLISHED",)
OPENING = ("SYN_SENT", "SYN_RECV", "SYN_SENT2")
TIME_WAIT = ("TIME_WAIT",)
CLOSING = ("FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "CLOSE")

PARTS = (ESTABLISHED, OPENING, TIME_WAIT, CLOSING)
"""In the order in which a screen shows them."""
