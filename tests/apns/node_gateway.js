// A foreign APNs: Node's own http2 and TLS, so that our client does not only agree with our lab.
// Usage: node node_gateway.js CA.pem SERVER.pem SERVER.key
// Prints its port, then one JSON line for each event that a test may wait for.
// What becomes of a push is chosen by the last part of its apns-topic; any other topic must be
// the one in the client certificate.
"use strict";
const fs = require("fs");
const http2 = require("http2");

const [ca, cert, key] = process.argv.slice(2).map((name) => fs.readFileSync(name));
const server = http2.createSecureServer({ ca, cert, key, requestCert: true, rejectUnauthorized: true });
const tries = new Map();
let sessions = 0;
const tell = (event) => console.log(JSON.stringify({ ...event, sessions }));

const goaway = (session, reason) => {
  session.goaway(0, 0, Buffer.from(JSON.stringify({ reason })));
  session.destroy();
};

server.on("session", (session) => {
  sessions += 1;
  session.on("error", () => {});
});
server.on("sessionError", () => {});
server.on("stream", (stream, headers) => {
  const session = stream.session;
  const holder = session.socket.getPeerCertificate().subject.UID;
  const topic = headers["apns-topic"] || "";
  const id = headers["apns-id"];
  const mine = (tries.get(id) || 0) + 1;
  let body = "";
  tries.set(id, mine);
  stream.setEncoding("utf8");
  stream.on("error", () => {});
  stream.on("data", (part) => (body += part));
  stream.on("end", () => {
    const answer = (status, document) => {
      stream.respond({ ":status": status, "apns-id": id });
      stream.end(document === undefined ? undefined : JSON.stringify(document));
    };
    const first = (breakIt) => (mine < 2 ? breakIt() : answer(200));
    const modes = {
      echo: () => {
        tell({ headers: { ...headers }, body });
        answer(200);
      },
      gone: () => answer(410, { reason: "Unregistered", timestamp: 1798761600123 }),
      busy: () => (mine < 3 ? answer(429, { reason: "TooManyRequests" }) : answer(200)),
      failing: () => answer(500, { reason: "InternalServerError" }),
      unavailable: () => first(() => answer(503, { reason: "ServiceUnavailable" })),
      shutdown: () => first(() => answer(503, { reason: "Shutdown" })),
      wrong: () => answer(400, { reason: "BadDeviceToken" }),
      forbidden: () => answer(403, { reason: "Forbidden" }),
      path: () => answer(404, { reason: "BadPath" }),
      large: () => answer(413, { reason: "PayloadTooLarge" }),
      tomorrow: () => answer(418, { reason: "NotInventedYet" }),
      goaway: () => first(() => goaway(session, "Shutdown")),
      goodbye: () => goaway(session, "IdleTimeout"),
      disliked: () => goaway(session, "BadCertificate"),
      mumble: () =>
        first(() => {
          session.goaway(0, 0, Buffer.from("\xff{"));
          session.destroy();
        }),
      // As Apple would: says goodbye first, then answers what it had taken on.
      farewell: () => {
        session.goaway(0, 0, Buffer.from(JSON.stringify({ reason: "Shutdown" })));
        setImmediate(() => answer(200));
      },
      drop: () => first(() => session.destroy()),
      flaky: () => session.destroy(),
      reset: () => first(() => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)),
      stall: () => {},
      idle: () => {
        session.on("close", () => tell({ closed: true }));
        stream.on("close", () => session.close());
        answer(200);
      },
      count: () => {
        tell({});
        answer(200);
      },
      html: () => {
        stream.respond({ ":status": 400 });
        stream.end("<html>not JSON</html>");
      },
      list: () => answer(400, ["reason"]),
      // An answer that gives the token back: in the reason, the timestamp and the apns-id.
      parrot: () => {
        const token = headers[":path"].split("/").pop();
        stream.respond({ ":status": 400, "apns-id": token });
        stream.end(JSON.stringify({ reason: `\u001b[31m${token}`, timestamp: token }));
      },
      deluge: () => {
        stream.respond({ ":status": 400, "apns-id": id });
        stream.end(JSON.stringify({ reason: "BadTopic", more: "x".repeat(1 << 20) }));
      },
    };
    const mode = modes[topic.split(".").pop()];
    if (mode !== undefined) mode();
    else if (topic === holder) answer(200);
    else answer(400, { reason: "TopicDisallowed" });
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
