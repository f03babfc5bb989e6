// What lies between a client and the hub, and does what such things do: it cuts, holds back, refuses.

import { createServer, connect } from 'node:net';

export class Way {
  #sockets = new Set();
  #server;
  /** What becomes of a request by its first line: 'pass', 'refuse' (as a proxy that knows better), 'hold' (the answer). */
  rule = () => 'pass';
  /** Answers to these requests go no further, also those under way. */
  frozen = () => false;
  requests = [];

  static async to(hub) {
    const way = new Way();
    way.#server = createServer({ allowHalfOpen: false }, (socket) => way.#serve(socket, hub.port)).listen(0, '127.0.0.1');
    await new Promise((resolve) => way.#server.once('listening', resolve));
    way.url = `http://127.0.0.1:${way.#server.address().port}/`;
    return way;
  }

  #serve(socket, port) {
    const far = connect(port, '127.0.0.1');
    let passes = true;
    let current;
    this.#sockets.add(socket);
    for (const end of [socket, far]) {
      end.on('error', () => {});
      end.on('close', () => {
        this.#sockets.delete(socket);
        socket.destroy();
        far.destroy();
      });
    }
    socket.on('data', (bytes) => {
      // fetch and WebSocket put no body behind their requests, and no second request before an answer.
      const [, path] = /^GET (\S+) HTTP/.exec(bytes.toString('latin1')) ?? [];
      if (path) {
        current = path;
        this.requests.push(path);
        const verdict = this.rule(path);
        passes = verdict !== 'hold';
        if (verdict === 'refuse') {
          socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
          return;
        }
      }
      far.write(bytes);
    });
    far.on('data', (bytes) => {
      if (passes && !this.frozen(current)) socket.write(bytes);
    });
  }

  /** Every connection breaks. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close() {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
