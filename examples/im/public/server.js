// Talking to PHP.

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** What the page answers; with data it is a POST. */
export async function ask(address, data) {
  const response = await fetch(address, data === undefined ? { cache: 'no-store' } : {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(data),
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok || answer === null) throw new Refused(response.status, answer?.error ?? `The server answered ${response.status}.`);
  return answer;
}

/**
 * The same until it is done, for some time: the network may be away, or php-fpm or the hub be restarted. Only for what may
 * be asked twice.
 */
export async function insist(address, data, isDone = () => true) {
  for (let attempt = 1; ; attempt++) {
    const last = attempt === 8;
    try {
      const answer = await ask(address, data);
      if (isDone(answer) || last) return answer;
    } catch (error) {
      // No answer (a TypeError), or one that says "not now".
      const temporary = error instanceof TypeError || error.status >= 500;
      if (!temporary || last) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(4000, 200 * 2 ** attempt)));
  }
}
