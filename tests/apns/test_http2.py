"""Our HTTP/2 against h2's server side, byte by byte and all at once."""

from __future__ import annotations

import struct

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.apns import field_block
from lifecycle.apns.field_block import pack
from lifecycle.apns.http2 import MAX_BODY, Answered, Broken, Goodbye, Http2, Http2Error

HEADERS = [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"apns"),
    (b":path", b"/3/device/00ff"),
    (b"apns-topic", b"t"),
]


class Server:
    """h2, answering each request with what it was sent."""

    def __init__(self, **their_settings: int) -> None:
        self.http = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.http.initiate_connection()
        self.http.update_settings(
            {getattr(h2.settings.SettingCodes, n): value for n, value in their_settings.items()}
        )
        self.bodies: dict[int, bytearray] = {}
        self.headers: dict[int, list[tuple[str, str]]] = {}
        self.ended: list[int] = []
        self.answer = b"seen"

    def talk(self, client: Http2, *, pieces: int = 1 << 20) -> list[object]:
        """Carries bytes to and fro until nobody has any more."""
        events: list[object] = []
        while True:
            out, back = client.data_to_send(), self.http.data_to_send()
            if not out and not back:
                return events
            for event in self.http.receive_data(out):
                self._handle(event)
            self._answer()
            for start in range(0, len(back), pieces):
                events += client.receive(back[start : start + pieces])

    def _handle(self, event: h2.events.Event) -> None:
        number = getattr(event, "stream_id", 0) or 0
        if isinstance(event, h2.events.RequestReceived):
            self.bodies[number] = bytearray()
            self.headers[number] = [(str(n), str(v)) for n, v in event.headers or []]
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[number] += event.data or b""
            self.http.acknowledge_received_data(event.flow_controlled_length or 0, number)
        elif isinstance(event, h2.events.StreamReset):
            self.bodies.pop(number, None)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.append(number)

    def _answer(self) -> None:
        while self.ended:
            number = self.ended.pop(0)
            if number not in self.bodies:
                continue
            self.http.send_headers(number, [(":status", "200"), ("apns-id", f"id-{number}")])
            self.http.send_data(number, self.answer, end_stream=True)


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.binary(max_size=300_000), min_size=1, max_size=5),
    window=st.integers(1_000, 100_000),
    pieces=st.sampled_from([1, 7, 9, 1000, 1 << 20]),
)
def test_any_bodies_arrive_whole_through_any_window_in_any_pieces(
    bodies: list[bytes], window: int, pieces: int
) -> None:
    server, client = Server(INITIAL_WINDOW_SIZE=window), Http2()
    numbers = [client.request(HEADERS, body) for body in bodies]
    events = server.talk(client, pieces=pieces)
    assert {n: bytes(server.bodies[n]) for n in numbers} == dict(zip(numbers, bodies, strict=True))
    assert sorted(e.stream_id for e in events if isinstance(e, Answered)) == numbers
    assert {e.body for e in events if isinstance(e, Answered)} == {b"seen"}
    assert server.headers[numbers[0]][3] == (":path", "/3/device/00ff")


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b":path", b"apns-id", b"x" * 200]), st.binary())),
    st.integers(0, 70_000),
)
def test_hpack_reads_what_we_packed_and_no_token_gets_into_its_table(
    fields: list[tuple[bytes, bytes]], length: int
) -> None:
    fields = [*HEADERS, *fields, (b"long", b"y" * length)]
    decoder = hpack.Decoder(max_header_list_size=1 << 20)
    read = decoder.decode(pack(fields), raw=True)
    assert [(bytes(name), bytes(value)) for name, value in read] == fields
    assert all(not field.indexable for field in read if field[0] == b":path")
    assert len(decoder.header_table.dynamic_entries) == 0


def test_a_token_is_not_kept_by_the_packer() -> None:
    before = field_block._known.cache_info().currsize
    pack([(b":path", b"/3/device/secret"), (b"apns-id", b"an-id")])
    assert field_block._known.cache_info().currsize == before


def test_many_and_long_responses_do_not_exhaust_the_windows() -> None:
    server, client = Server(), Http2()
    server.answer = b"y" * MAX_BODY
    for _ in range(20):
        client.request(HEADERS, b"x")
        (answered,) = server.talk(client)
        assert isinstance(answered, Answered)
        assert answered.body == server.answer


def test_no_more_requests_than_the_server_allows() -> None:
    server, client = Server(MAX_CONCURRENT_STREAMS=2), Http2()
    server.talk(client)
    assert client.greeted
    client.request(HEADERS, b"x")
    assert client.has_room
    client.request(HEADERS, b"x")
    assert not client.has_room
    server.talk(client)
    assert client.has_room


def test_an_abandoned_request_is_reset_and_its_late_answer_harms_nobody() -> None:
    server, client = Server(), Http2()
    server.talk(client)
    abandoned, kept = client.request(HEADERS, b"x"), client.request(HEADERS, b"x")
    client.abandon(abandoned)
    client.abandon(abandoned)
    assert next(e for e in server.talk(client) if isinstance(e, Answered)).stream_id == kept


def test_a_reset_a_ping_and_a_goodbye_are_understood() -> None:
    server, client = Server(), Http2()
    server.talk(client)
    first = client.request(HEADERS, b"")
    server.http.receive_data(client.data_to_send())
    server.http.ping(b"12345678")
    server.http.reset_stream(first, 7)
    server.http.close_connection(0, b"why", last_stream_id=first)
    assert client.receive(server.http.data_to_send()) == [Broken(first, 7), Goodbye(first, b"why")]
    assert b"12345678" in client.data_to_send()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


GREETING = frame(4, 0, 0, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(6, 0, 0, b"12345678"),
        frame(4, 0, 1, b""),
        frame(4, 0, 0, b"12345"),
        GREETING + frame(5, 4, 1, b"\0\0\0\2"),
        GREETING + frame(9, 4, 1, b""),
        GREETING + frame(1, 0, 1, b"\x88") + frame(6, 0, 0, b"12345678"),
        GREETING + frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"),
        GREETING + frame(1, 4, 0, b"\x88"),
        GREETING + frame(0, 1, 1, b"body first"),
        GREETING + frame(1, 5, 1, b"\x86"),
        GREETING + frame(1, 4 | 8, 1, b"\x09\x88"),
        GREETING + frame(3, 0, 1, b"\0"),
        GREETING + frame(7, 0, 0, b"\0\0"),
        GREETING + frame(8, 0, 0, b"\0\0\0\0"),
        GREETING + frame(8, 0, 0, b"\x7f\xff\xff\xff"),
        GREETING + frame(6, 0, 0, b"1"),
        frame(4, 0, 0, struct.pack(">HI", 4, 2**31)),
        frame(4, 0, 0, struct.pack(">HI", 5, 1)),
        b"\xff\xff\xff" + b"\0" * 6,
    ],
)
def test_what_breaks_the_rules_is_an_error(data: bytes) -> None:
    client = Http2()
    client.request(HEADERS, b"x")
    with pytest.raises(Http2Error):
        client.receive(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    client = Http2()
    client.request(HEADERS, b"x")
    try:
        client.receive(GREETING + data)
    except Http2Error:
        return
