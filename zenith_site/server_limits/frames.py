"""How large a WebSocket frame may be, enforced where its length is first known.

Only the protocol below the application can close with 1009 (RFC 6455, section 7.4.1): autobahn, on which daphne
stands, takes no code of the 1000s from an application. It also refuses before it has read the frame, so that a
stranger cannot fill the memory. Daphne has no option for it; autobahn reads its options from the protocol's class
where they are set there.
"""

from daphne.ws_protocol import WebSocketProtocol


def limit_frames(size: int) -> None:
    """Let daphne close sockets with 1009 whose frames are over `size` bytes."""
    WebSocketProtocol.maxFramePayloadSize = size
    # Of a message in many frames; holds for what is sent, too, so it leaves room for a large update.
    WebSocketProtocol.maxMessagePayloadSize = 256 * size
    # Else the connection is dropped and the client never sees the code.
    WebSocketProtocol.failByDrop = False
