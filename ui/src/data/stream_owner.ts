// Owns one EventSource for any number of tabs: it has the topics of all of them, and ends when the last one closes.

export type FromTab = { topics: string[] } | { gone: true };
export interface Frame {
  event: string;
  data: unknown;
  id: string;
}
export type ToTab = { frame: Frame } | { state: "live" | "off" };
type Send = (message: ToTab) => void;

const EVENTS = ["begin", "event", "delta", "resync", "bye"];
/** A tab that has not reported itself for this long is closed, in milliseconds. Hidden tabs report once a minute. */
const SILENT = 150_000;
const RETRY = 5_000;

export class StreamOwner {
  private tabs = new Map<Send, { topics: string[]; at: number }>();
  private source: EventSource | null = null;
  private topics = "";
  private lastId = "";
  private state: "live" | "off" = "off";
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    setInterval(() => {
      for (const [send, tab] of this.tabs) if (Date.now() - tab.at > SILENT) this.tabs.delete(send);
      this.settle();
    }, 15_000);
  }

  receive(send: Send, message: FromTab): void {
    if ("gone" in message) this.tabs.delete(send);
    else {
      if (!this.tabs.has(send)) send({ state: this.state });
      this.tabs.set(send, { topics: message.topics, at: Date.now() });
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), 200);
  }

  /** Open the stream for the topics of all tabs, if it is not open for these. */
  private settle(): void {
    const topics = [...new Set([...this.tabs.values()].flatMap((tab) => tab.topics))].sort().join(",");
    if (topics === this.topics && (this.source || !topics)) return;
    this.source?.close();
    this.source = null;
    this.topics = topics;
    if (!topics) return this.report("off");
    const query = new URLSearchParams({ topics });
    if (this.lastId) query.set("last_event_id", this.lastId);
    const source = new EventSource(`/api/v1/stream?${query}`);
    this.source = source;
    source.onopen = () => this.report("live");
    source.onerror = () => {
      this.report("off");
      // An EventSource connects again by itself unless the server refused it.
      if (source.readyState === EventSource.CLOSED && this.source === source) {
        this.source = null;
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.settle(), RETRY);
      }
    };
    for (const name of EVENTS)
      source.addEventListener(name, (event) => {
        if (event.lastEventId) this.lastId = event.lastEventId;
        let data: unknown = null;
        try {
          data = JSON.parse(event.data);
        } catch {
          return;
        }
        this.send({ frame: { event: name, data, id: event.lastEventId } });
      });
  }

  private report(state: "live" | "off"): void {
    if (state === this.state) return;
    this.state = state;
    this.send({ state });
  }

  private send(message: ToTab): void {
    for (const send of this.tabs.keys()) send(message);
  }
}
