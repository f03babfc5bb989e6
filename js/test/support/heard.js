import { until } from './until.js';

/** Keeps what a channel or client tells. */
export class Heard {
  constructor(target, type, read = (what) => what) {
    this.all = [];
    target.on(type, (what) => this.all.push(read(what)));
  }

  /** Waits until there is as much, and answers all. */
  async atLeast(count) {
    try {
      await until(() => this.all.length >= count, `${count} of these`);
    } catch (late) {
      throw new Error(`${late.message}, but ${this.all.length}, at last ${JSON.stringify(this.all.slice(-10))}`);
    }
    return this.all;
  }
}

export const opened = (client) => until(() => client.state === 'open', 'the client is open');
