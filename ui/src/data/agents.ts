// All agents of the cluster in this page: columns once, then what has changed. One store, whoever looks at it.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { AgentColumns, AgentView } from "../api";
import { amounts, type Amounts } from "./format";
import { ApiError, ask } from "./request";
import { lastAnswer, unreachable } from "./query";
import { live, onFrame, useTopics } from "./stream";

export interface Agent {
  id: string;
  host: string;
  cell: number;
  state: string;
  /** The largest part of its cpus, mem, gpus or disk that is used or offered, from 0 to 1. */
  share: number;
  tasks: number;
  total: Amounts;
  used: Amounts;
  offered: Amounts;
  attributes: Record<string, string>;
  /** When its last message came, by performance.now(); null if none has. A message alone is no change, so that of an
   * agent that is ready it is only known that its messages come in time. */
  heard: number | null;
  /** When its cell began anew, by performance.now(), while the agent was not named again; 0 if it was. */
  doubtful: number;
}

/** How long a cell that begins anew has for naming all of its agents, in milliseconds. */
const NAMING = 20_000;
/** The shortest time between two versions, in milliseconds: 10,000 agents are not sorted and drawn for every frame. */
const PAUSE = 500;

export const agents = {
  byId: new Map<string, Agent>(),
  missing: signal<{ cell: number; reason: string }[]>([]),
  error: signal<ApiError | undefined>(undefined),
  /** Grows with every change; 0: there is no answer yet. */
  version: signal(0),
};

let doubtful = false;

function apply(columns: AgentColumns): void {
  const now = performance.now();
  if (columns.reset?.length) {
    // Those that are still there follow, in this table and in later ones: none disappears meanwhile.
    const begun = new Set(columns.reset);
    for (const agent of agents.byId.values()) if (begun.has(agent.cell)) agent.doubtful = now;
    doubtful = true;
  }
  if (doubtful) {
    doubtful = false;
    for (const [id, agent] of agents.byId) {
      if (!agent.doubtful) continue;
      if (now - agent.doubtful > NAMING) agents.byId.delete(id);
      else doubtful = true;
    }
  }
  for (const id of columns.removed ?? []) agents.byId.delete(id);
  const at = (table: Record<string, number[]>, index: number): Amounts => {
    const found: Amounts = {};
    for (const name in table) found[name] = table[name]![index]!;
    return found;
  };
  columns.ids.forEach((id, index) => {
    const heard = columns.heartbeat_ages[index];
    agents.byId.set(id, {
      id,
      host: columns.hosts[index] || id,
      cell: columns.cells[index]!,
      state: columns.state_names[columns.states[index]!] ?? "ready",
      share: columns.shares[index]! / 255,
      tasks: columns.tasks[index]!,
      total: columns.kinds[columns.kind[index]!] ?? {},
      used: at(columns.used, index),
      offered: at(columns.offered, index),
      attributes: columns.attribute_sets[columns.attributes[index]!] ?? {},
      heard: heard === null || heard === undefined ? null : now - heard * 1000,
      doubtful: 0,
    });
  });
  agents.missing.value = columns.missing ?? [];
}

/** An agent of a view as the store has it. */
export function agentOf(view: AgentView): Agent {
  const total = amounts(view.total);
  const used = amounts(view.used);
  const offered = amounts(view.offered);
  let share = 0;
  for (const name of ["cpus", "mem", "gpus", "disk"])
    if (total[name]) share = Math.max(share, ((used[name] ?? 0) + (offered[name] ?? 0)) / total[name]!);
  return {
    id: view.agent_id,
    host: view.hostname || view.agent_id,
    cell: view.cell,
    state: view.state !== "registered" ? view.state : view.maintenance || "ready",
    share: Math.min(1, share),
    tasks: view.tasks,
    total,
    used,
    offered,
    attributes: view.attributes,
    heard: view.heartbeat_age === null ? null : performance.now() - view.heartbeat_age * 1000,
    doubtful: 0,
  };
}

let token = "";
let columnar = true;
let loading = false;
let waiting: AgentColumns[] = [];

async function load(): Promise<void> {
  if (loading) return;
  loading = true;
  try {
    if (columnar) {
      try {
        for (;;) {
          const columns = await ask("GET_AGENTS", { follow: true, changed_since: token });
          apply(columns);
          token = columns.token;
          if (!columns.more) break;
        }
      } catch (error) {
        if (!(error instanceof ApiError && error.unknown)) throw error;
        columnar = false;
      }
    }
    if (!columnar) await loadViews();
    for (const delta of waiting.splice(0)) apply(delta);
    agents.error.value = undefined;
    lastAnswer.value = performance.now();
    unreachable.value = false;
  } catch (error) {
    agents.error.value = error instanceof ApiError ? error : new ApiError(0, "failed", String(error));
    if (agents.error.value.code === "offline") unreachable.value = true;
  } finally {
    loading = false;
    agents.version.value += 1;
  }
}

/** From the pages of all agents, of a server without columns. */
async function loadViews(): Promise<void> {
  const seen = new Set<string>();
  let after = "";
  do {
    const page = await ask("GET_STATE", { parts: ["agents"], limit: 2000, after });
    for (const view of page.agents) {
      seen.add(view.agent_id);
      agents.byId.set(view.agent_id, agentOf(view));
    }
    agents.missing.value = page.missing;
    after = page.after;
  } while (after);
  const gone = new Set(agents.missing.value.map((each) => each.cell));
  for (const [id, agent] of agents.byId) if (!seen.has(id) && !gone.has(agent.cell)) agents.byId.delete(id);
}

let users = 0;
let timer = 0;
let changing = 0;

/** Have pages render again soon, and not more often than they can. */
function changed(): void {
  changing ||= window.setTimeout(() => {
    changing = 0;
    agents.version.value += 1;
  }, PAUSE);
}

const collator = new Intl.Collator("en", { numeric: true });
let ranks = new Map<string, number>();

/** The places of all ids in their order, numbers in them as numbers. Comparing texts takes longer than all else when
 * 10,000 agents are sorted, so that it is done only when there are others. */
export function placesOfIds(): ReadonlyMap<string, number> {
  let same = ranks.size === agents.byId.size;
  if (same) for (const id of agents.byId.keys()) if (!ranks.has(id)) { same = false; break; }
  if (!same) ranks = new Map([...agents.byId.keys()].sort(collator.compare).map((id, at) => [id, at]));
  return ranks;
}

/** Whether the last message of an agent is so long ago that it matters. */
export function silent(agent: Agent): boolean {
  return agent.state === "unreachable" || agent.state === "gone";
}

function wait(): void {
  window.clearTimeout(timer);
  if (!users) return;
  const many = agents.byId.size > 2000 && !columnar;
  timer = window.setTimeout(run, live.value && columnar ? 300_000 : many ? 15_000 : 2_000);
}

function run(): void {
  if (document.hidden && agents.version.value) return wait();
  void load().then(wait);
}

onFrame((frame) => {
  if (!users) return;
  if (frame.event === "resync") {
    token = "";
    run();
  } else if (frame.event === "delta") {
    const delta = frame.data as { topic: string; data: AgentColumns };
    if (delta.topic !== "agents" || !columnar) return;
    if (loading) waiting.push(delta.data);
    else {
      apply(delta.data);
      changed();
    }
  } else if (!columnar && frame.event === "event") run();
});

/** Keep the store up to date while a component is shown, and have it rendered after changes. */
export function useAgents(): typeof agents {
  useTopics("agents");
  useEffect(() => {
    users += 1;
    if (users === 1) run();
    return () => {
      users -= 1;
      if (!users) window.clearTimeout(timer);
    };
  }, []);
  agents.version.value;
  return agents;
}

export function refreshAgents(): void {
  run();
}

/** Whether an agent satisfies a filter of words: rack:r07 state=ready state!=ready cell=2 part-of-id. */
export function matcher(filter: string): (agent: Agent) => boolean {
  const tests = filter
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => {
      const found = /^(state|cell)(!?=)(.*)$/.exec(word);
      if (found) {
        const [, name, operator, value] = found;
        const want = operator === "=";
        return (agent: Agent) => (String(name === "cell" ? agent.cell : agent.state) === value) === want;
      }
      const colon = word.indexOf(":");
      if (colon > 0) {
        const name = word.slice(0, colon);
        const value = word.slice(colon + 1);
        return (agent: Agent) => agent.attributes[name] === value;
      }
      const part = word.toLowerCase();
      return (agent: Agent) => agent.id.toLowerCase().includes(part) || agent.host.toLowerCase().includes(part);
    });
  return (agent) => tests.every((test) => test(agent));
}

export function part(agent: Agent, name: string): number {
  const total = agent.total[name] ?? 0;
  return total ? ((agent.used[name] ?? 0) + (agent.offered[name] ?? 0)) / total : 0;
}
