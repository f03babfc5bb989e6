/** Waits for a condition with a deadline; its answer is that of the condition. */
export async function until(condition, what, milliseconds = 15_000) {
  for (const deadline = Date.now() + milliseconds; Date.now() < deadline;) {
    const answer = await condition();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`not within ${milliseconds} ms: ${what}`);
}
