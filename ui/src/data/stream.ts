// This tab's end of the stream: through the SharedWorker, or a stream of its own while the tab is visible.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { StreamOwner, type Frame, type FromTab, type ToTab } from "./stream_owner";

/** Whether frames come. While not, pages ask by themselves every few seconds. */
export const live = signal(false);

const listeners = new Set<(frame: Frame) => void>();
const wanted = new Map<symbol, string[]>();
let send: ((message: FromTab) => void) | null = null;

/** Call `listener` with every frame; returns a function that ends that. */
export function onFrame(listener: (frame: Frame) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Have the frames of these topics while the component is shown. */
export function useTopics(...topics: string[]): void {
  useEffect(() => {
    const key = Symbol();
    wanted.set(key, topics);
    publish();
    return () => {
      wanted.delete(key);
      publish();
    };
  }, [topics.join()]);
}

function receive(message: ToTab): void {
  if ("state" in message) live.value = message.state === "live";
  else for (const listener of listeners) listener(message.frame);
}

function publish(): void {
  if (send === null) connect();
  const visible = typeof SharedWorker !== "undefined" || !document.hidden;
  send!({ topics: visible ? [...new Set([...wanted.values()].flat())] : [] });
}

function connect(): void {
  const url = document.querySelector<HTMLMetaElement>("meta[name=stream-worker]")?.content;
  if (typeof SharedWorker !== "undefined" && url) {
    const worker = new SharedWorker(url, { type: "module", name: "bmesos" });
    worker.port.onmessage = (event: MessageEvent<ToTab>) => receive(event.data);
    worker.port.start();
    send = (message) => worker.port.postMessage(message);
  } else {
    const owner = new StreamOwner();
    send = (message) => owner.receive(receive, message);
    document.addEventListener("visibilitychange", publish);
  }
  window.setInterval(publish, 30_000);
  window.addEventListener("pagehide", () => send!({ gone: true }));
  window.addEventListener("pageshow", (event) => event.persisted && publish());
}
