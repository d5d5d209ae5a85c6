//! Tests of the server by raw client connections.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::any;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;

use super::*;
use crate::telemetry::{MetricsFormat, Registry};

const MAX_BODY_BYTES: usize = 256 * 1024;
const CONNECTIONS: usize = 2;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const FINISH: Duration = Duration::from_secs(5);
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7);

/// Responds with the sizes of query and body, and the last bytes of both.
async fn echo(request: HttpRequest) -> Response {
    let HttpRequest { head, body, query, connection } = request;
    assert_eq!(connection.peer, PEER);
    let path = head.uri.path().to_owned();
    match collect_body(body, MAX_BODY_BYTES).await {
        Ok(body) => {
            let last = |bytes: &[u8]| bytes.last().map(|byte| char::from(*byte));
            let (of_query, of_body) = (last(&query), last(&body));
            format!("{path} {} {of_query:?} {} {of_body:?}", query.len(), body.len())
                .into_response()
        }
        Err(BodyError::TooLarge) => http::StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(BodyError::Incomplete(_)) => http::StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Two error formats, which show their name, the host and the error.
#[derive(Debug)]
enum Form {
    Common,
    /// For heads with the word `special`.
    Special,
}

impl ErrorForm for Form {
    fn response(&self, host: &str, error: HttpError) -> http::Response<Bytes> {
        let status = match error {
            HttpError::HeaderTooLarge => 413,
            HttpError::Panicked => 500,
            HttpError::Closing | HttpError::TimedOut => 503,
            _ => 400,
        };
        let text = format!("{self:?} {host:?} {error:?}");
        http::Response::builder().status(status).body(text.into()).unwrap()
    }
}

const ERRORS: ErrorResponder = ErrorResponder {
    of_headers: |headers| {
        if headers.contains_key("special") { &Form::Special } else { &Form::Common }
    },
    in_head: |head| {
        let is_special = memchr::memmem::find(head, b"special").is_some();
        is_special.then_some(&Form::Special as &dyn ErrorForm)
    },
};

/// An application that is one function.
struct Function<F>(F);

impl<F, R> Application for Function<F>
where
    F: Fn(HttpRequest) -> R + Send + Sync,
    R: Future<Output = HttpResponse> + Send + 'static,
{
    fn serve(self: Arc<Self>, request: HttpRequest) -> PendingResponse {
        Box::pin((self.0)(request))
    }
}

fn echo_app() -> impl Application {
    Function(|request| async {
        HttpResponse { response: echo(request).await, is_authenticated: false }
    })
}

fn app(application: impl Application + 'static) -> HttpApp {
    HttpApp { application: Arc::new(application), errors: ERRORS }
}

fn settings() -> HttpSettings {
    HttpSettings {
        connections: ConnectionLimits::of_all(CONNECTIONS),
        header_timeout: HEADER_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        drain: Duration::ZERO,
        finish: FINISH,
        proxies: TrustedProxies::default(),
    }
}

fn accepted(metrics: ServerMetrics) -> Accepted {
    let places = ConnectionSlots::new(ConnectionLimits::of_all(1), metrics);
    let slot = places.take(PEER.ip(), 1).now_or_never().unwrap().unwrap();
    Accepted {
        peer: PEER,
        is_secure: false,
        since: Instant::now(),
        slot,
        _before_drain: Arc::default(),
    }
}

fn guard() -> watch::Receiver<Phase> {
    watch::Sender::new(Phase::Serving).subscribe()
}

/// A connection to `application` through a pipe of this many bytes.
fn connect(application: impl Application + 'static) -> DuplexStream {
    connect_with(application, ServerMetrics::default())
}

fn connect_with(application: impl Application + 'static, metrics: ServerMetrics) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 * 1024);
    tokio::spawn(connection(
        server,
        &accepted(metrics),
        app(application),
        PortMode::Application,
        &settings(),
        guard(),
    ));
    client
}

fn echoing() -> DuplexStream {
    connect(echo_app())
}

/// Reads one response: its status line, its head and its body.
async fn answer(client: &mut (impl AsyncRead + Unpin)) -> (String, String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
    client.read_exact(&mut body).await.unwrap();
    let status = head.lines().next().unwrap().to_owned();
    (status, head, String::from_utf8(body).unwrap())
}

async fn call(client: &mut DuplexStream, request: &str) -> String {
    let (mut reader, mut writer) = tokio::io::split(client);
    let (written, (_status, _head, body)) =
        tokio::join!(writer.write_all(request.as_bytes()), answer(&mut reader));
    written.unwrap();
    body
}

fn post(query_bytes: usize, body: &str) -> String {
    let (query, length) = ("x".repeat(query_bytes), body.len());
    format!("POST /?{query} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn one_connection_serves_long_and_short_lines_and_bodies_like_requests() {
    let mut client = echoing();
    let trap = post(90_000, "");
    for _round in 0..3 {
        assert_eq!(call(&mut client, &post(3, "")).await, "/ 3 Some('x') 0 None");
        assert_eq!(call(&mut client, &post(131_000, "ab")).await, "/ 131000 Some('x') 2 Some('b')");
        let expected = format!("/ 65000 Some('x') {} Some('\\n')", trap.len());
        assert_eq!(call(&mut client, &post(65_000, &trap)).await, expected);
    }
}

#[tokio::test]
async fn requests_sent_without_waiting_are_each_answered() {
    let all = [post(3, "a"), post(90_000, "b"), post(0, "c"), post(70_000, "")].concat();
    let (mut reader, mut writer) = tokio::io::split(echoing());
    let sent = tokio::spawn(async move { writer.write_all(all.as_bytes()).await.map(|()| writer) });
    for expected in [
        "/ 3 Some('x') 1 Some('a')",
        "/ 90000 Some('x') 1 Some('b')",
        "/ 0 None 1 Some('c')",
        "/ 70000 Some('x') 0 None",
    ] {
        assert_eq!(answer(&mut reader).await.2, expected);
    }
    sent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_after_100_continue_stays_a_body() {
    let mut client = echoing();
    let trap = post(90_000, "");
    let length = trap.len();
    let head = format!(
        "POST /?a HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.0, "HTTP/1.1 100 Continue");
    assert_eq!(call(&mut client, &trap).await, format!("/ 1 Some('a') {length} Some('\\n')"));
    assert_eq!(call(&mut client, &post(70_000, "")).await, "/ 70000 Some('x') 0 None");
}

#[tokio::test]
async fn a_body_in_chunks_is_read_and_the_lines_after_it_are_not_touched() {
    let mut client = echoing();
    let chunked =
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    assert_eq!(call(&mut client, chunked).await, "/ 0 None 2 Some('b')");
    assert_eq!(call(&mut client, &post(100, "")).await, "/ 100 Some('x') 0 None");
    assert_eq!(call(&mut client, &post(70_000, "")).await, "Common \"\" HeaderTooLarge");
}

#[tokio::test]
async fn a_request_that_the_library_rejects_gets_the_applications_error_format() {
    for (request, status, error) in [
        ("nonsense\r\n\r\n".to_owned(), "HTTP/1.1 400", "Common \"\" MalformedRequest"),
        (post(300_000, ""), "HTTP/1.1 413", "Common \"\" HeaderTooLarge"),
        (
            format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(300_000)),
            "HTTP/1.1 413",
            "Common \"\" HeaderTooLarge",
        ),
    ] {
        let (mut reader, mut writer) = tokio::io::split(echoing());
        tokio::spawn(async move { writer.write_all(request.as_bytes()).await });
        let (line, _head, body) = answer(&mut reader).await;
        assert!(line.starts_with(status), "{line}");
        assert_eq!(body, error);
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let body = "x".repeat(MAX_BODY_BYTES);
    assert!(call(&mut echoing(), &post(0, &body)).await.starts_with("/ 0 None 262144"));
    let (mut reader, mut writer) = tokio::io::split(echoing());
    let request = post(0, &(body + "x"));
    tokio::spawn(async move { writer.write_all(request.as_bytes()).await });
    assert_eq!(answer(&mut reader).await.0, "HTTP/1.1 413 Payload Too Large");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_and_a_slow_head_is_not() {
    let mut client = echoing();
    call(&mut client, &post(3, "")).await;
    tokio::time::advance(KEEP_ALIVE_TIMEOUT / 2).await;
    call(&mut client, &post(3, "")).await;
    let start = Instant::now();
    for byte in b"POST /?x".iter().cycle() {
        tokio::time::advance(Duration::from_secs(1)).await;
        if client.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(start.elapsed() <= HEADER_TIMEOUT + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_dropped() {
    let start = Instant::now();
    let mut client = echoing();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(start.elapsed().as_secs(), HEADER_TIMEOUT.as_secs());
    let mut idle = echoing();
    call(&mut idle, &post(3, "")).await;
    let start = Instant::now();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(start.elapsed().as_secs(), KEEP_ALIVE_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_an_unauthenticated_client_is_closed_early() {
    let mut client = connect(Router::new().fallback(|| async { http::StatusCode::FORBIDDEN }));
    call(&mut client, &post(3, "")).await;
    let start = Instant::now();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(start.elapsed().as_secs(), HEADER_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_cut_off_in_time() {
    let start = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(echoing());
    let head = b"POST /?x HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\n";
    let trickle = tokio::spawn(async move {
        writer.write_all(head).await.unwrap();
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    assert_eq!(answer(&mut reader).await.0, "HTTP/1.1 400 Bad Request");
    assert_eq!(start.elapsed().as_secs(), HEADER_TIMEOUT.as_secs());
    assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
    drop(reader);
    trickle.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_read_byte_by_byte_is_cut_off_in_time() {
    let (client, server) = tokio::io::duplex(64);
    let router = Router::new().fallback(|| async { "x".repeat(10_000) });
    tokio::spawn(connection(
        server,
        &accepted(ServerMetrics::default()),
        app(router),
        PortMode::Application,
        &settings(),
        guard(),
    ));
    let (mut reader, mut writer) = tokio::io::split(client);
    writer.write_all(post(1, "").as_bytes()).await.unwrap();
    let start = Instant::now();
    while reader.read(&mut [0]).await.is_ok_and(|count| count > 0) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // The bytes in the pipe by then are read to the end.
    assert!(start.elapsed().as_secs() <= HEADER_TIMEOUT.as_secs() + 64);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_response_is_dropped() {
    let (client, server) = tokio::io::duplex(64);
    let application = echo_app();
    let driven = tokio::spawn(connection(
        server,
        &accepted(ServerMetrics::default()),
        app(application),
        PortMode::Application,
        &settings(),
        guard(),
    ));
    let (_reader, mut writer) = tokio::io::split(client);
    writer.write_all(post(1, "").as_bytes()).await.unwrap();
    driven.await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_answered() {
    let mut client = connect(Router::new().fallback(std::future::pending::<()>));
    let start = Instant::now();
    client.write_all(post(1, "").as_bytes()).await.unwrap();
    let (line, head, body) = answer(&mut client).await;
    assert_eq!(line, "HTTP/1.1 503 Service Unavailable");
    assert!(head.contains("connection: close"));
    assert_eq!(body, "Common \"h\" TimedOut");
    assert_eq!(start.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

const SPECIAL: &str = "POST / HTTP/1.1\r\nhost: h\r\nspecial: yes\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_panic_is_answered_in_the_error_format_of_its_request() {
    async fn panicking() -> Response {
        panic!("on purpose")
    }
    let mut registry = Registry::default();
    let metrics = ServerMetrics::new(&mut registry);
    for (request, error) in
        [(&*post(1, ""), "Common \"h\" Panicked"), (SPECIAL, "Special \"h\" Panicked")]
    {
        let mut client = connect_with(Router::new().fallback(panicking), metrics.clone());
        client.write_all(request.as_bytes()).await.unwrap();
        let (line, head, body) = answer(&mut client).await;
        assert_eq!(line, "HTTP/1.1 500 Internal Server Error");
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(body, error);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
    assert!(registry.text(MetricsFormat::Prometheus).unwrap().contains("hsmgate_panics_total 2\n"));
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_its_error_format_for_errors_of_the_server() {
    let mut client = connect(Router::new().fallback(std::future::pending::<()>));
    client.write_all(SPECIAL.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.2, "Special \"h\" TimedOut");

    let (long, many) = ("x".repeat(300_000), "a: b\r\n".repeat(MAX_HEADERS));
    for (headers, status, error) in [
        (format!("a: {long}\r\n"), "HTTP/1.1 413 Content Too Large", "HeaderTooLarge"),
        (many, "HTTP/1.1 413 Content Too Large", "HeaderTooLarge"),
        ("a b: c\r\n".to_owned(), "HTTP/1.1 400 Bad Request", "MalformedRequest"),
    ] {
        let head = SPECIAL.replace("content-length", &format!("{headers}content-length"));
        let (mut reader, mut writer) = tokio::io::split(echoing());
        tokio::spawn(async move { writer.write_all(head.as_bytes()).await });
        let (line, _head, body) = answer(&mut reader).await;
        assert_eq!((&*line, &*body), (status, &*format!("Special \"\" {error}")));
    }
}

/// Starts a server on a new socket.
fn start(
    application: impl Application + 'static,
) -> (SocketAddr, Arc<Notify>, tokio::task::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    start_on(listener, application, settings(), Stop::AtOnce)
}

fn start_on(
    listener: std::net::TcpListener,
    application: impl Application + 'static,
    settings: HttpSettings,
    way: Stop,
) -> (SocketAddr, Arc<Notify>, tokio::task::JoinHandle<()>) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let server = tokio::spawn(async move {
        let stop = async {
            stopped.notified().await;
            way
        };
        serve(listener, app(application), settings, stop).await;
    });
    (address, stop, server)
}

fn long_drain() -> HttpSettings {
    let connections = ConnectionLimits::of_all(8);
    HttpSettings { connections, drain: Duration::from_hours(1), ..settings() }
}

/// Head and body of the response to one request on an open connection.
async fn asked(client: &mut TcpStream) -> (String, String) {
    client.write_all(post(1, "").as_bytes()).await.unwrap();
    let (_status, head, body) = answer(client).await;
    (head, body)
}

async fn is_closed(client: &mut TcpStream) -> bool {
    client.read(&mut [0]).await.unwrap() == 0
}

fn ok() -> Router {
    Router::new().route("/", any(|| async { "ok" }))
}

#[tokio::test]
async fn while_a_server_drains_every_request_is_answered_and_closes_its_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, stop, server) = start_on(listener, ok(), long_drain(), Stop::Drain);
    let mut kept = TcpStream::connect(address).await.unwrap();
    assert!(!asked(&mut kept).await.0.contains("connection: close"));
    stop.notify_one();
    let mut is_draining = false;
    while !is_draining {
        let mut new = TcpStream::connect(address).await.unwrap();
        let (head, body) = asked(&mut new).await;
        assert_eq!(body, "ok");
        is_draining = head.contains("connection: close");
        assert!(!is_draining || is_closed(&mut new).await);
    }
    let (head, body) = asked(&mut kept).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "ok");
    assert!(is_closed(&mut kept).await);
    assert!(!server.is_finished(), "further connections are accepted until the drain time is over");
    server.abort();
}

#[tokio::test]
async fn a_stopping_server_closes_idle_connections_and_serves_new_ones() {
    let (address, stop, server) = start(ok());
    let mut resting = TcpStream::connect(address).await.unwrap();
    asked(&mut resting).await;
    let mut new = TcpStream::connect(address).await.unwrap();
    stop.notify_one();
    assert!(is_closed(&mut resting).await);
    let (head, body) = asked(&mut new).await;
    assert!(head.contains("connection: close") && body == "ok", "{head}");
    assert!(is_closed(&mut new).await);
    server.await.unwrap();
}

#[tokio::test]
async fn a_silent_connection_does_not_delay_the_stop() {
    let (address, stop, server) = start(ok());
    let mut silent = TcpStream::connect(address).await.unwrap();
    stop.notify_one();
    let begin = Instant::now();
    assert!(is_closed(&mut silent).await);
    server.await.unwrap();
    assert!(begin.elapsed() < FINISH);
}

#[tokio::test]
async fn a_listener_is_handed_over_without_a_lost_request() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.try_clone().unwrap();
    let (address, stop, server) = start_on(listener, ok(), long_drain(), Stop::HandOver);
    let mut kept = TcpStream::connect(address).await.unwrap();
    asked(&mut kept).await;
    stop.notify_one();
    let (head, body) = asked(&mut kept).await;
    assert_eq!(body, "ok");
    if !head.contains("connection: close") {
        // The request was sent before the server was stopping.
        asked(&mut kept).await;
    }
    server.await.unwrap();
    let mut new = TcpStream::connect(address).await.unwrap();
    new.write_all(post(1, "").as_bytes()).await.unwrap();
    let (_address, _stop, _server) = start_on(other, ok(), settings(), Stop::AtOnce);
    assert_eq!(answer(&mut new).await.2, "ok");
}

#[tokio::test]
async fn a_connection_of_an_authenticated_caller_is_kept_whatever_the_response() {
    for is_authenticated in [true, false] {
        let refuse = move |_request| async move {
            HttpResponse { response: http::StatusCode::FORBIDDEN.into_response(), is_authenticated }
        };
        let (address, _stop, _server) = start(Function(refuse));
        let mut open = Vec::new();
        for _count in 0..CONNECTIONS {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(post(1, "").as_bytes()).await.unwrap();
            assert!(answer(&mut client).await.0.contains("403"));
            open.push(client);
        }
        tokio::time::sleep(NEW_CONNECTION_GRACE + Duration::from_millis(100)).await;
        let mut new = TcpStream::connect(address).await.unwrap();
        new.write_all(post(1, "").as_bytes()).await.unwrap();
        assert_eq!(new.read_u8().await.is_err(), is_authenticated, "closed, as no slot is free");
    }
}

#[tokio::test]
async fn pending_connections_are_accepted_one_by_one_at_the_stop() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let mut server = Server::new("api", app(ok()), None, settings(), ServerMetrics::default());
    let mut waiting = Vec::new();
    for _count in 0..CONNECTIONS + 20 {
        waiting.push(TcpStream::connect(address).await.unwrap());
    }
    server.accept_backlog(listener).await;
    let mut answered = 0;
    let finished = tokio::spawn(server.finish());
    for mut client in waiting {
        // The write may fail if the connection is refused.
        let _ = client.write_all(post(1, "").as_bytes()).await;
        answered += usize::from(client.read_u8().await.is_ok());
    }
    assert_eq!(answered, CONNECTIONS);
    finished.await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let (address, _stop, _server) = start(Router::new().route("/", any(|| async { "ok" })));
    let mut open = Vec::new();
    for _count in 0..CONNECTIONS {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(post(1, "").as_bytes()).await.unwrap();
        assert_eq!(answer(&mut client).await.2, "ok");
        open.push(client);
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    assert_eq!(refused.read(&mut [0]).await.unwrap_or(0), 0);
    drop(open);
    loop {
        let mut client = TcpStream::connect(address).await.unwrap();
        if client.write_all(post(1, "").as_bytes()).await.is_ok() && client.read_u8().await.is_ok()
        {
            break;
        }
    }
}

#[tokio::test]
async fn requests_in_flight_are_finished_before_the_server_stops() {
    let (requests_started, handle_next) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let count = Arc::new(AtomicU32::new(0));
    let handler = {
        let (requests_started, handle_next, count) =
            (Arc::clone(&requests_started), Arc::clone(&handle_next), Arc::clone(&count));
        move || async move {
            requests_started.notify_one();
            handle_next.notified().await;
            count.fetch_add(1, Ordering::Relaxed);
            "done"
        }
    };
    let (address, stop, server) = start(Router::new().route("/", any(handler)));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(post(1, "").as_bytes()).await.unwrap();
    requests_started.notified().await;
    stop.notify_one();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    handle_next.notify_one();
    assert_eq!(answer(&mut client).await.2, "done");
    server.await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
