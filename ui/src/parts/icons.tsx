// The icons of the rail and of states: own shapes, so that a state is told by its shape as well as by its colour.
import type { ComponentChildren } from "preact";

const PATHS: Record<string, string> = {
  cluster: "M2.5 2.5h4.5v4.5h-4.5zM9 2.5h4.5v4.5H9zM2.5 9h4.5v4.5h-4.5zM9 9h4.5v4.5H9z",
  agents: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  jobs: "M2.5 4h11M2.5 8h11M2.5 12h7",
  roles: "M8 2.5v11M3 5.5l5-3 5 3M3 5.5v3.5a2 2 0 0 0 4 0M9 9a2 2 0 0 0 4 0V5.5",
  frameworks: "M8 2l5.5 3v6L8 14l-5.5-3V5zM2.5 5L8 8l5.5-3M8 8v6",
  masters: "M3 13V6.5L8 3l5 3.5V13M6 13V9h4v4M1.5 13h13",
  events: "M2 8h3l2-5 3 10 2-5h2",
  search: "M7 3a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM10 10l3.5 3.5",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1.5V3M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z",
  screen: "M2 3h12v8H2zM6 13.5h4",
  warning: "M8 2.5l6 11H2zM8 6.5v3M8 11.5h.01",
  out: "M9.5 2.5h4v11h-4M10 8H2.5M5 5.5L2.5 8 5 10.5",
  folder: "M2 4h4l1.5 1.5H14V13H2z",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
};

export function Icon({ name, size = 16 }: { name: string; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg width="20" height="20" viewBox="0 0 20 20" fill="none" aria-hidden="true">
      <path d="M10 1.5l7.5 4.25v8.5L10 18.5l-7.5-4.25v-8.5z" stroke="currentColor" stroke-width="1.6" stroke-linejoin="round" />
      <path d="M6.2 12.6V8l3.8 3 3.8-3v4.6" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}

type Kind = "good" | "busy" | "wait" | "warn" | "bad" | "away" | "drain";

/** What each state looks like: its colour, its shape, and its word if that is another one. */
const STATES: Record<string, [Kind, keyof typeof SHAPES, string?]> = {
  running: ["good", "dot"],
  ready: ["good", "dot"],
  registered: ["good", "dot", "ready"],
  subscribed: ["good", "dot"],
  ok: ["good", "check"],
  finished: ["good", "check"],
  staging: ["busy", "half"],
  starting: ["busy", "half"],
  killing: ["warn", "half"],
  pending: ["wait", "ring", "waiting"],
  waiting: ["wait", "ring"],
  standby: ["wait", "ring"],
  disconnected: ["away", "triangle"],
  unreachable: ["away", "triangle"],
  failed: ["bad", "cross"],
  error: ["bad", "cross"],
  lost: ["bad", "cross"],
  dropped: ["bad", "cross"],
  gone: ["bad", "cross"],
  gone_by_operator: ["bad", "cross", "gone"],
  "torn-down": ["bad", "cross", "torn down"],
  killed: ["wait", "cross"],
  draining: ["drain", "diamond"],
  drained: ["drain", "solid"],
  deactivated: ["drain", "solid"],
  warning: ["warn", "triangle"],
};

const SHAPES = {
  dot: <circle cx="6" cy="6" r="4" fill="currentColor" stroke="none" />,
  ring: <circle cx="6" cy="6" r="3.6" />,
  half: (
    <>
      <circle cx="6" cy="6" r="3.6" />
      <path d="M6 2.4a3.6 3.6 0 0 1 0 7.2z" fill="currentColor" stroke="none" />
    </>
  ),
  check: <path d="M2.2 6.4l2.6 2.6 5-5.6" stroke-width="1.8" />,
  cross: <path d="M3 3l6 6M9 3l-6 6" stroke-width="1.8" />,
  triangle: <path d="M6 1.8l4.6 8.2H1.4z" fill="currentColor" stroke="none" />,
  diamond: <path d="M6 1.5L10.5 6 6 10.5 1.5 6z" />,
  solid: <path d="M6 1.5L10.5 6 6 10.5 1.5 6z" fill="currentColor" stroke="none" />,
};

export function kindOf(state: string): Kind {
  return STATES[state]?.[0] ?? "wait";
}

export function wordOf(state: string): string {
  return STATES[state]?.[2] ?? state.replace(/_/g, " ");
}

export function State({ state, loud = false, word }: { state: string; loud?: boolean; word?: string }) {
  const [kind, shape] = STATES[state] ?? (["wait", "ring"] as const);
  return (
    <span class={`state is-${kind}${loud ? " loud" : ""}`}>
      <svg width="12" height="12" viewBox="0 0 12 12" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
        {SHAPES[shape]}
      </svg>
      <span>{word ?? wordOf(state)}</span>
    </span>
  );
}

/** The state of a task on the wire, TASK_RUNNING, as a word. */
export function taskState(state: string): string {
  return state.replace(/^TASK_/, "").toLowerCase();
}

export function Notice({ bad = false, children }: { bad?: boolean; children: ComponentChildren }) {
  return (
    <div class={`notice${bad ? " bad" : ""}`} role="status">
      <Icon name="warning" />
      <span class="grow">{children}</span>
    </div>
  );
}
