/** A transport: what carries the messages. */
export type Transport = 'sse' | 'websocket' | 'long-poll';

/**
 * - `connecting`: on the way, or waiting for the next attempt
 * - `open`: messages come as they are published
 * - `offline`: the browser has no network, or keeps the page for a way back; goes on by itself
 * - `closed`: for good
 */
export type State = 'connecting' | 'open' | 'offline' | 'closed';

export interface Options {
  /**
   * What `push_token()` made, or a function that gets one from PHP. The function is called at first, when the token has
   * expired, and when a channel is refused, with the channels that are wanted.
   */
  token?: string | ((channels: string[]) => string | Promise<string>);
  /** Which transports may be used, the best first. Default: `['sse', 'websocket', 'long-poll']`. */
  transports?: Transport[];
  /** Where the hub has them, below the URL. Default: `{ sse: 'ev/', websocket: 'ws/', 'long-poll': 'sub/', presence: 'presence/' }`. */
  paths?: Partial<Record<Transport | 'presence', string>>;
  /** Where channels begin that have no position of their own: what `push_position()` said. Default: now. */
  position?: string;
  /** Milliseconds of silence after which a connection counts as dead. Longer than the hub's pings and polls. Default: 40000. */
  timeout?: number;
}

export interface Message<Data = unknown> {
  /** The channel's number of the message. */
  id: number;
  channel: string;
  /** What the publisher called it. */
  event: string | null;
  /** What was published: a value, a text, or bytes that are no text. */
  data: Data;
  /** When it was published, in seconds since 1970. */
  time: number;
  /** Its place among all messages: `<time>.<tag>`. */
  position: string;
}

export interface Member {
  user: string;
  info: Record<string, unknown>;
  connections: number;
  /** When the member joined, in seconds since 1970. */
  since: number;
}

export interface Roster {
  count: number;
  members: Member[];
  /** What to ask the next page with; null: this was the last. */
  after: string | null;
}

/** Why an attempt failed. */
export interface PushError extends Error {
  /** The HTTP status, where there was one. */
  status?: number;
}

export interface ChannelEvents<Data> {
  message: Message<Data>;
  /** Messages are missing: load what there is from the database. `position`: how far the hub is. */
  gap: { position: string };
  /** Somebody came, or is somebody else now (`info`). */
  join: Member;
  leave: Member;
  /** `members` and `count` have changed; also when the roster comes for the first time, which is nobody's join. */
  presence: { count: number };
  /** No more comes: it was deleted or is refused, or `close()` was called. */
  close: { reason: string };
}

export interface Channel<Data = unknown> extends EventTarget, AsyncIterable<Message<Data>> {
  readonly id: string;
  /** Up to where everything was received; null before that is known. */
  readonly position: string | null;
  /** By user. Empty in rooms so big that the hub tells only numbers. */
  readonly members: ReadonlyMap<string, Member>;
  /** How many members there are. */
  readonly count: number;
  /** Calls the listener with each; the answer ends that. */
  on<Type extends keyof ChannelEvents<Data>>(type: Type, listener: (what: ChannelEvents<Data>[Type]) => void): () => void;
  /** A page of the members, from the hub, in the order of their names. */
  roster(after?: string, limit?: number): Promise<Roster>;
  /**
   * Publishes to this channel where the hub allows it; over WebSocket only, and without an answer: the message coming back is it.
   *
   * @throws Error There is no open WebSocket.
   */
  publish(data: unknown, event?: string): void;
  /** Ends the subscription. */
  close(): void;
}

export interface ClientEvents {
  state: State;
  gap: { position: string };
  /** An attempt failed. The next follows by itself, unless the state is `closed`. */
  error: PushError;
  /** PHP ended the connection. The client comes back; `close()` in a listener prevents it. */
  disconnect: { reason: string };
}

export interface Client extends EventTarget {
  readonly state: State;
  /** What is used now or was last. */
  readonly transport: Transport | null;
  /** Up to where everything was received, in all channels; null before that is known. */
  readonly position: string | null;
  /**
   * Subscribes. All channels share a connection, which is made anew for one more. Without `position` a channel begins
   * where the client is. The same id gives the same object, until it is closed.
   */
  channel<Data = unknown>(id: string, options?: { position?: string; presence?: boolean }): Channel<Data>;
  /** Calls the listener with each; the answer ends that. */
  on<Type extends keyof ClientEvents>(type: Type, listener: (what: ClientEvents[Type]) => void): () => void;
  /** Ends the connection and every subscription, for good. */
  close(): void;
}

/** A client of the hub at this address. It connects with its first channel. */
export function connect(url: string, options?: Options): Client;
