// The output of a task in this page: the latest lines of it, which grow while the task runs.
import type { LogChunk as Chunk } from "../api";
import { ApiError, ask } from "./request";

export const MAX_LINES = 10_000;
const CHUNK = 65_536;
const TAIL = 65_536;
/** The longest line that is kept as one, in characters. */
const MAX_LINE = 4_000;

export class TaskLog {
  lines: string[] = [];
  /** Bytes of the output that are not in `lines` any more, or never were. */
  skipped = 0;
  size = 0;
  ended = false;
  error: ApiError | null = null;
  loaded = false;
  private offset = -1;
  private rest = "";
  private decoder = new TextDecoder();
  private ending = new AbortController();

  constructor(
    private task: string,
    private name: "stdout" | "stderr",
    private changed: () => void,
  ) {
    void this.run();
  }

  stop(): void {
    this.ending.abort();
  }

  private async run(): Promise<void> {
    while (!this.ending.signal.aborted) {
      try {
        const chunk = this.offset < 0 ? await this.end() : await this.read(this.offset, 10);
        this.add(chunk);
        this.error = null;
        this.changed();
        if (chunk.ended && this.offset >= chunk.size) return;
      } catch (error) {
        if (this.ending.signal.aborted) return;
        this.error = error instanceof ApiError ? error : new ApiError(0, "failed", String(error));
        this.loaded = true;
        this.changed();
        if (this.error.code === "not_found" || this.error.status === 403) return;
        await new Promise((resolve) => setTimeout(resolve, 3000));
      }
    }
  }

  /** The last part of the output. */
  private async end(): Promise<Chunk> {
    let chunk: Chunk;
    try {
      chunk = await ask("READ_LOG", { task_id: this.task, name: this.name, offset: -TAIL, length: CHUNK }, this.ending.signal);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 400)) throw error;
      // A server that counts from the beginning only: the size is known from the first byte.
      const first = await this.read(0, 0, 1);
      chunk = await this.read(Math.max(0, first.size - TAIL), 0);
    }
    this.skipped = chunk.offset;
    this.offset = chunk.offset;
    return chunk;
  }

  private read(offset: number, wait: number, length = CHUNK): Promise<Chunk> {
    return ask("READ_LOG", { task_id: this.task, name: this.name, offset, length, wait }, this.ending.signal);
  }

  private add(chunk: Chunk): void {
    const bytes = Uint8Array.from(atob(chunk.data), (letter) => letter.charCodeAt(0));
    // Output that is more than a chunk ahead is not read: the page stays at the end of it.
    const behind = chunk.size - (chunk.offset + bytes.length);
    this.offset = chunk.offset + bytes.length;
    this.size = chunk.size;
    this.ended = chunk.ended;
    this.loaded = true;
    let text = this.rest + this.decoder.decode(bytes, { stream: true });
    if (behind > 4 * CHUNK) {
      this.offset = chunk.size - TAIL;
      text += `\n… ${behind - TAIL} bytes of output are not shown …\n`;
      this.decoder = new TextDecoder();
    }
    const found = text.split("\n");
    this.rest = found.pop()!;
    while (this.rest.length > MAX_LINE) {
      found.push(this.rest.slice(0, MAX_LINE));
      this.rest = this.rest.slice(MAX_LINE);
    }
    for (const line of found) {
      for (let at = 0; at === 0 || at < line.length; at += MAX_LINE) this.lines.push(line.slice(at, at + MAX_LINE));
    }
    if (this.lines.length > MAX_LINES) this.lines.splice(0, this.lines.length - MAX_LINES);
  }

  /** All lines, with the one that has not ended. */
  get shown(): string[] {
    return this.rest ? [...this.lines, this.rest] : this.lines;
  }
}
