// A push-hub of its own, on free addresses in a private directory. PUSH_HUB names the program, PUSH_EXTENSION what PHP loads.

import { execFile, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { until } from './until.js';

const root = process.getuid() === 0;

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Hub {
  /**
   * @param toml Further keys
   * @param access Which channels may be listened to
   */
  static async start(toml = '', access = 'off') {
    const hub = new Hub();
    hub.directory = await mkdtemp(join(tmpdir(), 'push-js-'));
    await chmod(hub.directory, 0o755);
    hub.port = await freePort();
    hub.url = `http://127.0.0.1:${hub.port}/`;
    await writeFile(join(hub.directory, 'push.toml'), `
      listen = "127.0.0.1:${hub.port}"
      socket = "${hub.directory}/run/hub.sock"
      admin_listen = "unix:${hub.directory}/run/admin.sock"
      secret_file = "${hub.directory}/run/secret"
      authorized_channels_only = "${access}"
      ${root ? 'user = "nobody"' : ''}
      ${toml}
    `);
    await hub.#run();
    return hub;
  }

  async #run() {
    this.log = '';
    this.process = spawn(process.env.PUSH_HUB, ['--config', join(this.directory, 'push.toml')]);
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', (text) => this.log += text);
    await until(() => {
      if (this.process.exitCode !== null) throw new Error(`the hub ended at its start:\n${this.log}`);
      return this.admin('GET', '/healthz').then(({ status }) => status === 200, () => false);
    }, 'the hub serves');
  }

  /** A request on the listener for operators. */
  admin(method, path, body = '', headers = {}) {
    return new Promise((resolve, reject) => {
      const socketPath = join(this.directory, 'run/admin.sock');
      request({ socketPath, method, path, headers: { ...headers, 'Content-Length': Buffer.byteLength(body) } }, async (answer) => {
        let text = '';
        for await (const piece of answer) text += piece;
        resolve({ status: answer.statusCode, text });
      }).on('error', reject).end(body);
    });
  }

  async publish(channel, text, headers = {}) {
    const { status } = await this.admin('POST', `/pub?id=${channel}`, text, headers);
    if (status !== 200) throw new Error(`publishing was answered with ${status}`);
  }

  async subscribers(channel) {
    const { status, text } = await this.admin('GET', `/channels-stats?id=${channel}`);
    return status === 200 ? Number(JSON.parse(text).subscribers) : 0;
  }

  /** What the expression is in PHP. */
  async php(expression) {
    const settings = [`extension=${process.env.PUSH_EXTENSION}`, `push.socket=${this.directory}/run/hub.sock`];
    const options = settings.flatMap((setting) => ['-d', setting]);
    const program = process.env.PHP || 'php';
    const { stdout } = await promisify(execFile)(program, ['-n', ...options, '-r', `echo json_encode(${expression});`]);
    return JSON.parse(stdout);
  }

  /** What push_token() makes. */
  async token(claims) {
    const [secret] = (await readFile(join(this.directory, 'run/secret'), 'utf8')).split('\n');
    const iat = Date.now() / 1000;
    const parts = [{ alg: 'HS256', typ: 'JWT' }, { iat, exp: Math.floor(iat) + 60, ...claims }];
    const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
  }

  /** The hub dies without a word, and its keeper starts another. */
  async kill() {
    const keeper = this.process.pid;
    const children = (await readFile(`/proc/${keeper}/task/${keeper}/children`, 'utf8')).trim().split(' ');
    process.kill(Number(children[0]), 'SIGKILL');
  }

  async end() {
    const ended = this.process.exitCode !== null || new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGTERM');
    await ended;
  }

  async restart() {
    await this.end();
    await this.#run();
  }

  async stop() {
    await this.end();
    await rm(this.directory, { recursive: true });
  }
}
