// The map of agents with its card; on the pages Cluster and Agents.
import { amount, duration, percent } from "../data/format";
import { part, silent, type Agent } from "../data/agents";
import { go, url } from "../data/router";
import { HeatMap, ramp, type Group } from "./heatmap";
import { Bar, plural } from "./basics";
import { State, kindOf } from "./icons";

export const COLOURS = [
  ["share", "Most used"],
  ["cpus", "CPUs"],
  ["mem", "Memory"],
  ["gpus", "GPUs"],
  ["state", "State"],
] as const;
export type Colour = (typeof COLOURS)[number][0];

const BY_KIND = { good: "use-3", busy: "busy", wait: "wait", warn: "warn", bad: "bad", away: "away", drain: "drain" } as const;

function colourOf(agent: Agent, colour: Colour): string {
  if (agent.state !== "ready") return BY_KIND[kindOf(agent.state)];
  if (colour === "state") return "good";
  return ramp(colour === "share" ? agent.share : part(agent, colour));
}

export function AgentMap({ list, byId, colour, group, missing, version, label }: { list: Agent[]; byId: Map<string, Agent>; colour: Colour; group: string; missing: ReadonlySet<number>; version: unknown; label: string }) {
  const groups = new Map<string, Group>();
  for (const agent of list) {
    const name = !group ? "" : group === "cell" ? `cell ${agent.cell}` : (agent.attributes[group] ?? `no ${group}`);
    let found = groups.get(name);
    if (!found) groups.set(name, (found = { name, squares: [] }));
    found.squares.push({
      id: agent.id,
      colour: colourOf(agent, colour),
      hatched: missing.has(agent.cell),
      hollow: agent.state === "draining" || agent.state === "unreachable",
    });
  }
  const ordered = [...groups.values()].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const card = (id: string) => {
    const agent = byId.get(id);
    if (!agent) return id;
    return (
      <>
        <strong>{agent.host === agent.id ? agent.id : `${agent.id} · ${agent.host}`}</strong>
        <State state={agent.state} />
        {["cpus", "mem", "gpus"].map((name) =>
          agent.total[name] ? (
            <span key={name} class="meter">
              <span style={{ minWidth: "32px", textAlign: "left" }}>{name}</span>
              <Bar label={name} total={1} parts={[{ name, value: part(agent, name), class: "c-use" }]} />
              <span>{`${amount(name, (agent.used[name] ?? 0) + (agent.offered[name] ?? 0))}/${amount(name, agent.total[name]!)}`}</span>
            </span>
          ) : null,
        )}
        <span class="muted">
          {plural(agent.tasks, "task")} · cell {agent.cell}
          {agent.heard !== null && silent(agent) && ` · last message ${duration((performance.now() - agent.heard) / 1000)} ago`}
        </span>
      </>
    );
  };
  return <HeatMap label={label} groups={ordered} version={`${String(version)} ${colour} ${group} ${list.length}`} card={card} open={(id) => go(url("agents", id))} />;
}

export function MapLegend({ colour }: { colour: Colour }) {
  return (
    <div class="legend">
      {colour === "state" ? (
        <State state="ready" />
      ) : (
        <span>
          {percent(0)}
          {Array.from({ length: 7 }, (_, step) => (
            <i key={step} style={{ background: `var(--use-${step})`, marginLeft: step ? "-4px" : 0, borderRadius: 0 }} />
          ))}
          {percent(1)} used or offered
        </span>
      )}
      <State state="draining" />
      <State state="drained" />
      <State state="unreachable" />
    </div>
  );
}
