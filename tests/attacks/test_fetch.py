"""Addresses that lead to this machine or its network, in every spelling, by name, by redirect, by a second answer.

What is counted is what is dialled: not one connection to anything but a public address may be tried.
"""

from __future__ import annotations

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
import time
import zlib

import pytest

from denken.search import fetch as module
from denken.search.addresses import is_public
from denken.search.fetch import Fetcher, FetchError
from wires import Internet, say, serving

PUBLIC, OTHER = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"

# This machine, private networks, and clouds' metadata, as they can be written.
_SPELLINGS = """
http://127.0.0.1/ http://127.0.0.1:80/ http://127.1/ http://127.0.1/ http://0/ http://0.0.0.0/ http://127.127.127.127/
http://2130706433/ http://017700000001/ http://0x7f000001/ http://0x7f.0.0.1/ http://0x7f.0x0.0x0.0x1/ http://0177.0.0.1/
http://0177.0.0.01/ http://127.0.0.1./ http://00000000177.0.0.1/ http://0x7F.1/ http://127.0x1/ http://4294967295/
http://10.0.0.1/ http://10.255.255.255/ http://167772161/ http://0xa000001/ http://012.0.0.1/ http://172.16.0.1/
http://172.31.255.254/ http://192.168.0.1/ http://192.168.1.254/ http://3232235521/ http://0xc0a80001/
http://169.254.169.254/latest/meta-data/ http://2852039166/ http://0xa9fea9fe/ http://0251.0376.0251.0376/
http://169.254.43518/ http://100.64.0.1/ http://100.100.100.200/ http://168.63.129.16/ http://192.0.0.192/
http://198.18.0.1/ http://224.0.0.1/ http://239.255.255.250/ http://240.0.0.1/ http://255.255.255.255/
http://192.0.2.1/ http://198.51.100.1/ http://203.0.113.1/ http://192.88.99.1/
http://[::1]/ http://[::]/ http://[0:0:0:0:0:0:0:1]/ http://[0000::0001]/ http://[::ffff:127.0.0.1]/
http://[::ffff:7f00:1]/ http://[0:0:0:0:0:ffff:127.0.0.1]/ http://[::127.0.0.1]/ http://[::ffff:0:127.0.0.1]/
http://[::ffff:169.254.169.254]/ http://[::ffff:10.0.0.1]/ http://[fe80::1]/ http://[fe80::1%25eth0]/ http://[fc00::1]/
http://[fd00:ec2::254]/ http://[ff02::1]/ http://[2002:7f00:1::]/ http://[2002:a9fe:a9fe::]/
http://[2001:0:53aa:64c:0:0:80ff:fffe]/ http://[64:ff9b::127.0.0.1]/ http://[64:ff9b::a9fe:a9fe]/
http://[64:ff9b:1::7f00:1]/ http://[2001:db8::1]/ http://[3fff::1]/ http://[100::1]/ http://[fec0::1]/
http://[2606:4700:0:0:0:5efe:7f00:1]/ http://[5f00::1]/ http://[::ffff:192.168.0.1]:80/
http://１２７.０.０.１/ http://①②⑦.⓪.⓪.①/ http://127。0。0。1/ http://127%2e0%2e0%2e1/ http://%31%32%37.0.0.1/
"""
SPELLINGS = _SPELLINGS.split()

# Names that resolve to them, alone or beside a public address.
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.": ["127.0.0.1"],
    "lan.example": ["192.168.1.1"],
    "meta.example": ["169.254.169.254"],
    "v6.example": ["::1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "mixed.example": [PUBLIC, "127.0.0.1"],
    "mixed6.example": [OTHER, "fd00::1"],
    "last.example": [PUBLIC, PUBLIC, PUBLIC, PUBLIC, "10.0.0.1"],
    "scoped.example": ["fe80::1%lo"],
    "nothing.example": [],
    "garbage.example": ["not an address"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
}

# What parsers disagree about, and what is no address of a page at all.
ODD = [
    "http://a@127.0.0.1/", "http://page.example@127.0.0.1/", "http://127.0.0.1@page.example/",
    "http://a:b@page.example/", "http://@page.example/", "http://page.example\\@127.0.0.1/",
    "http://127.0.0.1\\.page.example/", "http:\\\\127.0.0.1\\", "http://page.example\t@127.0.0.1/",
    "http://page.example\n/", "http:// 127.0.0.1/", "http://page.example\r\nHost: a/", "http://page.example:22/",
    "http://page.example:6379/", "http://page.example:0/", "http://page.example:65536/",
    "http://page.example:99999999999/", "http://page.example:-1/", "http://page.example:8080/",
    "http://page.example:80a/", "file:///etc/passwd", "ftp://page.example/", "gopher://page.example/",
    "dict://page.example/", "data:text/html,a", "javascript:alert(1)", "ws://page.example/", "unix:/run/docker.sock",
    "http+unix://%2Frun%2Fdocker.sock/", "//page.example/", "/etc/passwd", "page.example", "http:", "http://",
    "http:///path", "http://#@page.example", "http://?a", "http://[", "http://[::1", "http://[]/",
    "http://[page.example]/", "http://..", "http://.", "", " ", "http://" + "a" * 3000, "http://é" * 500,
    "http://xn--/", "http://xn--a/", "http://\ud800/", "http://page.example/\0", "http://a..b/", "https://0x/",
    "http://1.2.3.4.5/", "http://page.example:80:80/", "http://page.example,127.0.0.1/", "http://[::1]page.example/",
]  # fmt: skip


@pytest.fixture
def internet() -> Internet:
    internet = Internet()
    internet.names = {name: [answer] for name, answer in NAMES.items()} | {
        "page.example": [[PUBLIC]],
        "six.example": [[OTHER]],
    }
    return internet


@pytest.fixture
def fetcher(internet) -> Fetcher:
    return Fetcher(resolve=internet.resolve, network=internet)


def get(fetcher: Fetcher, url: str, **options):
    return asyncio.run(fetcher.get(url, **{"seconds": 30} | options))


def test_there_are_enough_of_them():
    assert len(set(SPELLINGS)) >= 75
    assert len(NAMES) >= 12
    assert len(set(ODD)) >= 50


@pytest.mark.parametrize("url", SPELLINGS)
def test_no_spelling_of_a_private_address_is_connected_to(internet, fetcher, url):
    for scheme in ("http", "https"):
        with pytest.raises(FetchError):
            get(fetcher, url.replace("http", scheme, 1))
    assert internet.dialled == []


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_private_address_is_connected_to(internet, fetcher, name):
    with pytest.raises(FetchError, match=r"not on the public internet|no server"):
        get(fetcher, f"http://{name}/")
    assert internet.dialled == []


@pytest.mark.parametrize("url", ODD, ids=lambda url: ascii(url)[:50])
def test_what_parsers_disagree_about_is_not_even_resolved(internet, fetcher, url):
    with pytest.raises(FetchError):
        get(fetcher, url)
    assert internet.dialled == []
    assert not internet.asked or "127" not in internet.asked[0]


RELATIVE = ["//127.0.0.1/", "//localhost/", "https://127.0.0.1/", "///127.0.0.1/", "http:127.0.0.1"]


@pytest.mark.parametrize(
    "location", [*SPELLINGS, *(f"http://{name}/" for name in NAMES), *ODD, *RELATIVE], ids=lambda url: ascii(url)[:50]
)
def test_no_redirect_leads_to_a_private_address(internet, fetcher, redirecting, location):
    internet.servers[PUBLIC] = redirecting([location])
    with pytest.raises(FetchError):
        get(fetcher, "http://page.example/")
    assert set(internet.dialled) == {PUBLIC}


@pytest.fixture(scope="module")
def _redirecting():
    locations: list[str] = []

    def answer(handler):
        at = int(handler.path.strip("/") or 0) if handler.path.strip("/").isdigit() else 0
        if at >= len(locations):
            say(handler, b"arrived")
            return
        handler.send_response(302)
        handler._headers_buffer.append(b"Location: " + locations[at].encode("utf-8", "surrogatepass") + b"\r\n")
        handler.send_header("content-length", "0")
        handler.end_headers()

    with serving(answer) as port:
        yield locations, port


@pytest.fixture
def redirecting(_redirecting):
    """A server that redirects from /0 to the first of the locations, from /1 to the second, and so on; its port."""
    locations, port = _redirecting

    def start(given: list[str]) -> int:
        locations[:] = given
        return port

    return start


def test_redirects_are_followed_a_few_times(internet, fetcher, redirecting):
    internet.servers[PUBLIC] = internet.servers[OTHER] = redirecting(["/1", "//six.example/2", "http://page.example/3"])
    assert get(fetcher, "http://page.example/").body == b"arrived"
    assert internet.dialled == [PUBLIC, PUBLIC, OTHER, PUBLIC]
    internet.servers[PUBLIC] = redirecting([f"/{n + 1}" for n in range(5)])
    assert get(fetcher, "http://page.example/").url == "http://page.example/5"
    internet.servers[PUBLIC] = redirecting([f"/{n + 1}" for n in range(6)])
    with pytest.raises(FetchError, match="more than 5 times"):
        get(fetcher, "http://page.example/")


def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_checked(internet, fetcher, redirecting):
    """DNS rebinding: the first answer is public, the second private."""
    internet.servers[PUBLIC] = redirecting([])
    internet.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    assert get(fetcher, "http://rebinding.example/").body == b"arrived"
    assert internet.asked == ["rebinding.example"], "who resolves twice may be told two things"
    with pytest.raises(FetchError, match="not on the public internet"):
        get(fetcher, "http://rebinding.example/")
    assert internet.dialled == [PUBLIC]


def test_a_name_that_changes_its_mind_between_two_hops_is_checked_anew(internet, fetcher, redirecting):
    internet.servers[PUBLIC] = redirecting(["http://rebinding.example/1"])
    internet.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    with pytest.raises(FetchError, match="not on the public internet"):
        get(fetcher, "http://rebinding.example/")
    assert internet.dialled == [PUBLIC]


def test_the_real_resolver_and_the_real_wire_refuse_this_machine_too():
    reached = []
    with serving(lambda handler: reached.append(handler.path)) as port:
        fetcher = Fetcher(ports={port})
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
            with pytest.raises(FetchError):
                get(fetcher, f"http://{host}:{port}/")
    assert reached == []


@pytest.mark.parametrize(
    ("address", "public"),
    [(PUBLIC, True), (OTHER, True), ("8.8.8.8", True), ("64:ff9b::808:808", True), ("64:ff9b::a00:1", False),
     ("100.63.255.255", True), ("100.128.0.0", True), ("172.15.0.1", True), ("172.32.0.1", True), ("::", False),
     ("2001:4860::8888", True), ("127.0.0.1", False), ("", False), ("1.2.3", False), ("2130706433", False),
     ("0177.0.0.1", False)],
)  # fmt: skip
def test_what_is_public(address, public):
    assert is_public(address) is public


def test_nothing_of_ours_goes_along(internet, fetcher, monkeypatch, tmp_path):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9/")
    (tmp_path / ".netrc").write_text("machine page.example login me password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []

    def answer(handler):
        seen.append({name.lower(): value for name, value in handler.headers.items()})
        if handler.path == "/":
            say(handler, b"", 302, location="/next", set_cookie="id=1")
        else:
            say(handler, b"done", set_cookie="id=2")

    with serving(answer) as port:
        internet.servers[PUBLIC] = port
        for _ in range(2):
            assert get(fetcher, "http://page.example/").body == b"done"
    assert len(seen) == 4
    for headers in seen:
        assert headers.keys() == {"host", "user-agent", "accept", "accept-encoding", "connection"}
        assert headers["host"] == "page.example"
    assert set(internet.dialled) == {PUBLIC}


def packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("body", "headers", "problem"),
    [
        (b"x" * 2000, {}, "larger than"),
        (b"x" * 2000, {"content_length": "2000", "content_type": "text/plain"}, "larger than"),
        (packed(b"x" * 5_000_000), {"content_encoding": "gzip"}, "larger than|cannot be"),
        (packed(b"x" * 900)[:20], {"content_encoding": "gzip"}, None),
        (b"no gzip", {"content_encoding": "gzip"}, "cannot be unpacked"),
        (b"x", {"content_encoding": "br"}, "packed as 'br'"),
        (b"x", {"content_encoding": "gzip, gzip"}, "packed as"),
        (b"x", {"content_type": "image/png"}, "is image/png"),
        (b"x", {"content_type": ""}, "of no type"),
        (b"x", {"content_type": "application/octet-stream"}, "no page that can be read"),
    ],
)
def test_answers_have_their_limits(internet, fetcher, body, headers, problem):
    with serving(lambda handler: say(handler, body, **headers)) as port:
        internet.servers[PUBLIC] = port
        if problem is None:
            assert len(get(fetcher, "http://page.example/", max_bytes=1000).body) <= 1000
            return
        with pytest.raises(FetchError, match=problem):
            get(fetcher, "http://page.example/", max_bytes=1000)


def test_what_unpacks_to_gigabytes_is_let_go_of_at_once(internet, fetcher):
    bomb = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    million = b"\0" * 2**20
    body = b"".join(bomb.compress(million) for _ in range(200)) + bomb.flush()
    with serving(lambda handler: say(handler, body, content_encoding="gzip")) as port:
        internet.servers[PUBLIC] = port
        with pytest.raises(FetchError, match="larger than"):
            get(fetcher, "http://page.example/")


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
def test_what_is_packed_is_unpacked(internet, fetcher, kind):
    body = b"".join(b"%d bottles\n" % n for n in range(20_000))
    sent = gzip.compress(body) if kind == "gzip" else zlib.compress(body)
    with serving(
        lambda handler: say(handler, sent, content_encoding=kind, content_type="text/plain; charset=x")
    ) as port:
        internet.servers[PUBLIC] = port
        fetched = get(fetcher, "http://page.example/a?b=ü#c")
    assert fetched.body == body
    assert fetched.media_type == "text/plain; charset=x"
    assert fetched.url == "http://page.example/a?b=%C3%BC"


def dripping(handler):
    handler.send_response(200)
    handler.send_header("content-type", "text/html")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.1)


def endless_headers(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(10_000):
        handler.wfile.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        dripping,
        lambda handler: time.sleep(3),
        endless_headers,
        lambda handler: handler.wfile.write(b"\0" * 100_000),
        lambda handler: handler.wfile.write(b"HTTP/1.1 999999 \r\n\r\n"),
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
        lambda handler: say(handler, b"", 304),
        lambda handler: say(handler, b"", 500),
        lambda handler: say(handler, b"", 302),
    ],
)
def test_servers_that_misbehave_are_left_in_time(internet, fetcher, answer):
    began = time.monotonic()
    with serving(answer) as port:
        internet.servers[PUBLIC] = port
        with pytest.raises(FetchError, match=r"page\.example|''"):
            get(fetcher, "http://page.example/", seconds=0.5)
    assert time.monotonic() - began < 30


def test_a_resolver_that_hangs_is_left_in_time(internet):
    async def hangs(host, port):
        await asyncio.sleep(60)
        return [PUBLIC]

    with pytest.raises(FetchError, match=r"longer than 0\.3 s"):
        get(Fetcher(resolve=hangs, network=internet), "http://page.example/", seconds=0.3)
    assert internet.dialled == []


def test_the_next_address_is_tried(internet, fetcher, redirecting):
    internet.names["two.example"] = [["1.1.1.1", PUBLIC]]
    internet.servers[PUBLIC] = redirecting([])
    assert get(fetcher, "http://two.example/").body == b"arrived"
    assert internet.dialled == ["1.1.1.1", PUBLIC]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of page.example, which nobody but the tests trusts."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not at hand")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    made += [
        "-subj",
        "/CN=page.example",
        "-addext",
        "subjectAltName=DNS:page.example",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run(made, check=True, capture_output=True)
    return key, certificate


def test_the_certificate_must_be_that_of_the_name(internet, certificate):
    key, file = certificate
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file, key)
    ours = Fetcher(resolve=internet.resolve, network=internet, tls=ssl.create_default_context(cafile=str(file)))
    with serving(lambda handler: say(handler, b"arrived"), tls=server) as port:
        internet.servers[PUBLIC] = port
        internet.names["other.example"] = [[PUBLIC]]
        assert get(ours, "https://page.example/").body == b"arrived"
        for fetcher, url in (
            (ours, "https://other.example/"),
            (ours, f"https://{PUBLIC}/"),
            (Fetcher(resolve=internet.resolve, network=internet), "https://page.example/"),
        ):
            with pytest.raises(FetchError, match="could not be fetched"):
                get(fetcher, url)


def test_a_unix_socket_is_never_opened(fetcher):
    with pytest.raises(FetchError):
        asyncio.run(fetcher._pinned.connect_unix_socket("/run/docker.sock"))


def test_only_https_and_http_have_ports_by_themselves():
    assert {80, 443} == module.PORTS
