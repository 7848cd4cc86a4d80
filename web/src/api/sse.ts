/**
 * Server-sent events over fetch. `EventSource` would do, but it cannot send a token.
 */

/** Cuts a stream of text into events and gives the `data:` of each. */
export class EventSplitter {
  private rest = '';

  /** Take more text; return the data of the events that are complete now. */
  push(text: string): string[] {
    this.rest = (this.rest + text).replaceAll('\r\n', '\n'); // the pair may come in two pieces
    const found: string[] = [];
    let end = this.rest.indexOf('\n\n');
    while (end !== -1) {
      const data = dataOf(this.rest.slice(0, end));
      if (data !== null) found.push(data);
      this.rest = this.rest.slice(end + 2);
      end = this.rest.indexOf('\n\n');
    }
    return found;
  }
}

function dataOf(block: string): string | null {
  const lines = block.split('\n').filter((line) => line.startsWith('data:'));
  if (lines.length === 0) return null;
  return lines.map((line) => line.slice(5).replace(/^ /, '')).join('\n');
}

/** Read events until the server ends them. */
export async function* events(response: Response): AsyncGenerator<string> {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const splitter = new EventSplitter();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* splitter.push(value);
    }
  } finally {
    await reader.cancel().catch(() => undefined); // the stream may have failed already
  }
}
