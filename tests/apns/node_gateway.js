// A foreign APNs: Node's own http2 and TLS, so that our client does not only agree with our lab.
// Usage: node node_gateway.js CA.pem SERVER.pem SERVER.key
// Prints its port. The behaviour of a push is chosen by its apns-topic's last part.
"use strict";
const fs = require("fs");
const http2 = require("http2");

const [ca, cert, key] = process.argv.slice(2).map((name) => fs.readFileSync(name));
const server = http2.createSecureServer({ ca, cert, key, requestCert: true, rejectUnauthorized: true });
const seen = new Map();

server.on("stream", (stream, headers) => {
  let body = "";
  stream.setEncoding("utf8");
  stream.on("error", () => {});
  stream.on("data", (part) => (body += part));
  stream.on("end", () => {
    const id = headers["apns-id"];
    const count = (seen.get(id) || 0) + 1;
    seen.set(id, count);
    const answer = (status, document) => {
      stream.respond({ ":status": status, "apns-id": id });
      stream.end(document ? JSON.stringify(document) : undefined);
    };
    switch ((headers["apns-topic"] || "").split(".").pop()) {
      case "echo":
        answer(400, {
          reason: JSON.stringify({
            method: headers[":method"],
            pathLength: headers[":path"].length,
            type: headers["apns-push-type"],
            priority: headers["apns-priority"],
            expiration: headers["apns-expiration"],
          }).slice(0, 200),
          body,
        });
        break;
      case "gone":
        answer(410, { reason: "Unregistered", timestamp: 1798761600123 });
        break;
      case "busy":
        if (count < 3) answer(429, { reason: "TooManyRequests" });
        else answer(200);
        break;
      case "broken":
        answer(500, { reason: "InternalServerError" });
        break;
      case "wrong":
        answer(400, { reason: "BadDeviceToken" });
        break;
      case "goaway":
        if (count < 2) {
          stream.session.goaway(0, 0, Buffer.from(JSON.stringify({ reason: "Shutdown" })));
          stream.session.destroy();
        } else answer(200);
        break;
      case "drop":
        if (count < 2) stream.session.destroy();
        else answer(200);
        break;
      case "stall":
        break;
      case "garbage":
        stream.respond({ ":status": 400 });
        stream.end("<html>not JSON</html>");
        break;
      default:
        answer(200);
    }
  });
});
server.on("sessionError", () => {});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
