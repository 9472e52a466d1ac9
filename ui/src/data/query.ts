// Asking for something again and again while it is looked at, and keeping the last answer meanwhile.
import { signal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError } from "./request";
import { live, onFrame } from "./stream";

export interface Query<T> {
  data: T | undefined;
  error: ApiError | undefined;
  /** When the answer came, by performance.now(); 0 if there is none yet. */
  at: number;
}

/** When any answer came last, by performance.now(): the header says so when it is long ago. */
export const lastAnswer = signal(performance.now());
/** Whether the latest request of any query failed because the server did not answer. */
export const unreachable = signal(false);

export interface Options<T> {
  /** Seconds between two requests while the page is visible; 0: ask once. */
  every?: number;
  /** Seconds between them while the stream is live and reports changes of this by itself. */
  everyLive?: number;
  /** Frames after which to ask at once. */
  on?: (frame: { event: string; data: unknown }) => boolean;
  /** The data with what a frame adds to it, so that nothing has to be asked; undefined: the frame is about other data. */
  take?: (frame: { event: string; data: unknown }, data: T) => T | undefined;
}

/** Ask for `key` (a text that names what is asked), again every few seconds, and after frames of the stream. The data
 * stay while new ones come, and go when the key is another one. */
export function useQuery<T>(
  key: string | null,
  fetcher: (signal: AbortSignal) => Promise<T>,
  options: Options<T> = {},
): Query<T> & { refresh: () => void } {
  const { state, control } = useMemo(() => {
    const state: Signal<Query<T>> = signal({ data: undefined, error: undefined, at: 0 });
    return { state, control: { refresh: () => {} } };
  }, [key]);
  useEffect(() => {
    if (key === null) return;
    const ended = new AbortController();
    let timer = 0;
    let running = false;
    let again = false;
    const schedule = () => {
      window.clearTimeout(timer);
      const every = live.value && options.everyLive !== undefined ? options.everyLive : (options.every ?? 0);
      // After a failure it is tried again soon, but not at once by all that look at this page.
      const wait = state.value.error ? Math.max(every, 2) + Math.random() : every;
      if (every > 0 && !ended.signal.aborted) timer = window.setTimeout(run, wait * 1000);
    };
    const run = async () => {
      if (running) {
        again = true;
        return;
      }
      if (document.hidden && state.value.at) return schedule();
      running = true;
      try {
        const data = await fetcher(ended.signal);
        if (ended.signal.aborted) return;
        state.value = { data, error: undefined, at: performance.now() };
        lastAnswer.value = performance.now();
        unreachable.value = false;
      } catch (error) {
        if (ended.signal.aborted) return;
        const known = error instanceof ApiError ? error : new ApiError(0, "failed", String(error));
        if (known.code === "offline") unreachable.value = true;
        state.value = { ...state.value, error: known };
      } finally {
        running = false;
        if (again) {
          again = false;
          timer = window.setTimeout(run, 300);
        } else schedule();
      }
    };
    control.refresh = () => void run();
    const stop = onFrame((frame) => {
      const taken = state.value.data === undefined ? undefined : options.take?.(frame, state.value.data);
      if (taken !== undefined) {
        state.value = { data: taken, error: undefined, at: performance.now() };
        lastAnswer.value = performance.now();
      } else if (frame.event === "resync" || options.on?.(frame)) {
        window.clearTimeout(timer);
        // Several frames in a row are one request.
        timer = window.setTimeout(run, 120);
      }
    });
    const shown = () => document.hidden || void run();
    document.addEventListener("visibilitychange", shown);
    void run();
    return () => {
      ended.abort();
      stop();
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [key]);
  return { ...state.value, refresh: () => control.refresh() };
}
